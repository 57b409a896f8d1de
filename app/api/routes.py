"""Endpoints, of at most ten lines each."""

from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.answers import EmbeddingsResponse, ErrorBody, Health, Model, ModelList
from app.api.connection import read_body, unless_gone
from app.api.embeddings import Embeddings
from app.api.schemas import EmbeddingsRequest
from app.api.vectors import to_json
from app.engine.client import EngineClient
from app.errors import UnknownModelError
from app.metrics import Metrics

JSON = "application/json"
_HEADER_NAMES = 20

router = APIRouter()


@dataclass(slots=True)
class Served:
    """What the endpoints need, as `app.state.served`."""

    embeddings: Embeddings
    engine: EngineClient
    metrics: Metrics
    models: tuple[Model, ...]
    max_body_bytes: int
    draining: bool = field(default=False)


def _errors(**sentences: str) -> dict[int | str, dict[str, Any]]:
    return {
        int(status.removeprefix("e")): {"model": ErrorBody, "description": sentence}
        for status, sentence in sentences.items()
    }


@router.post(
    "/v1/embeddings",
    response_class=Response,
    responses={
        200: {"model": EmbeddingsResponse, "description": "A vector for each input, in order."},
        **_errors(
            e400="The body is no JSON, or over a limit that the sentence names.",
            e404="The model is not served here.",
            e413="The body has too many bytes.",
            e422="A field is missing, of the wrong type or out of range; `errors` names it.",
            e500="A defect of the service; the log has its trace under the request id.",
            e503="Not now; retry after as many seconds as Retry-After says.",
            e504="The request waited too long.",
        ),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/EmbeddingsRequest"}}},
        }
    },
)
async def create_embeddings(request: Request) -> Response:
    """Texts -> vectors, read by the adapter of the task."""
    served: Served = request.app.state.served
    body = await read_body(request, served.max_body_bytes)
    answer = await unless_gone(request, served.embeddings.answer(body))
    task = answer.task or "none"
    served.metrics.tokens.labels(task).inc(answer.tokens)
    facts = {"task": task, "inputs": answer.inputs, "tokens": answer.tokens}
    request.state.facts.update(facts, late_chunking=answer.late_chunking)
    named = {
        "x-ignored-fields": answer.ignored_fields,
        "x-truncated-inputs": answer.truncated_inputs,
    }
    headers = {name: _listed(values) for name, values in named.items() if values}
    return Response(answer.body, media_type=JSON, headers=headers)


def _listed(values: tuple[object, ...]) -> str:
    """Values as a header: printable ASCII only, since a caller chose some of them."""
    shown = [ascii(value).strip("'\"")[:64] for value in values[:_HEADER_NAMES]]
    return ", ".join(shown) + (
        f", and {len(values) - _HEADER_NAMES} more" * (len(values) > _HEADER_NAMES)
    )


@router.get("/v1/models", response_model=ModelList)
async def list_models(request: Request) -> Response:
    """The served names."""
    models = [model.model_dump() for model in request.app.state.served.models]
    return Response(to_json({"object": "list", "data": models}), media_type=JSON)


@router.get("/v1/models/{name:path}", response_model=Model, responses=_errors(e404="Not served."))
async def get_model(request: Request, name: str) -> Response:
    """One served name."""
    models = {model.id: model for model in request.app.state.served.models}
    if name not in models:
        raise UnknownModelError(name, tuple(models))
    return Response(to_json(models[name].model_dump()), media_type=JSON)


@router.get("/live", response_model=Health)
async def live() -> Response:
    """The process answers. True while a model is loading or a worker is started again."""
    return Response(to_json({"status": "ok"}), media_type=JSON)


@router.get("/health", response_model=Health, responses={503: {"model": Health}})
@router.get("/ready", response_model=Health, responses={503: {"model": Health}})
async def ready(request: Request) -> Response:
    """Requests are welcome: a worker has its model loaded and the service is not draining."""
    served: Served = request.app.state.served
    status = "draining" if served.draining else "ok" if served.engine.ready else "not ready"
    code = 200 if status == "ok" else 503
    return Response(to_json({"status": status}), code, media_type=JSON)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """All series in Prometheus' text format."""
    served: Served = request.app.state.served
    return Response(served.metrics.exposition(), media_type="text/plain; version=0.0.4")


def request_schema() -> dict[str, Any]:
    """The schema of the body of POST /v1/embeddings, which is read by hand from bytes."""
    return EmbeddingsRequest.model_json_schema(ref_template="#/components/schemas/{model}")
