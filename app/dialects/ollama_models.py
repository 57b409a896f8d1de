"""Ollama's GET /api/tags, POST /api/show and GET /api/version: what it says of its models.

Judges: its server/routes.go, and the package ollama (_types.py: ListResponse, ShowResponse).
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from app import __version__
from app.api.admission import KEY, KEY_AND_LIMITS
from app.api.context import request_of, service_of
from app.api.direct_route import DirectRoute
from app.api.openapi import JSON, body_of
from app.api.response_models import Model, ResponseModel
from app.api.spaces import ServedSpaces
from app.api.validation import validated
from app.api.vectors import to_json
from app.dialects.dialect import DialectRequest, documented
from app.errors import UnknownModelError

_TAG = ":latest"  # what a name without a tag has
_FAMILY = "xlm-roberta"


class OllamaShowRequest(DialectRequest):
    """The body of POST /api/show."""

    model: str = Field(min_length=1, description="A served name, with or without `:latest`.")


class OllamaTagsResponse(ResponseModel):
    """The answer of GET /api/tags."""

    models: list[dict[str, Any]]
    """The served names, with `:latest`."""


class OllamaShowResponse(ResponseModel):
    """The answer of POST /api/show."""

    details: dict[str, Any]
    """The architecture."""
    model_info: dict[str, Any]
    """The longest text in tokens, and the width of a vector."""
    capabilities: list[str]
    """`embedding`."""


class OllamaVersionResponse(ResponseModel):
    """The answer of GET /api/version."""

    version: str
    """Of this service."""


class OllamaError(ResponseModel):
    """The body of an error."""

    error: str
    """What is wrong, how much, the limit, what to do."""


def served_name(asked: str, served: Sequence[str]) -> str:
    """A served name, which may be asked for with the tag of names that have none."""
    return asked if asked in served else asked.removesuffix(_TAG)


def _details() -> dict[str, Any]:
    none = dict.fromkeys(("parent_model", "parameter_size", "quantization_level"), "")
    return {**none, "format": "safetensors", "family": _FAMILY, "families": [_FAMILY]}


def _digest(spaces: ServedSpaces) -> str:
    """Of what all vectors depend on, as Ollama's is of its model's content.

    Raises:
        NotReadyError: no worker has loaded the checkpoint yet.
    """
    return hashlib.sha256(" ".join(spaces.by_task().values()).encode()).hexdigest()


def _modified_at(model: Model) -> str:
    return datetime.fromtimestamp(model.created, UTC).isoformat()


def _listed(model: Model, digest: str) -> dict[str, Any]:
    """A served name as /api/tags lists it."""
    name = model.id if ":" in model.id else model.id + _TAG
    return {
        "name": name,
        "model": name,
        "modified_at": _modified_at(model),
        "digest": digest,
        "details": _details(),
    }


_NO_KEY: dict[int | str, Any] = {401: {"model": OllamaError, "description": "No key."}}
_VERSION = {"model": OllamaVersionResponse}
_TAGS = {
    **_NO_KEY,
    200: {"model": OllamaTagsResponse},
    503: {"model": OllamaError, "description": "No worker has loaded the model yet."},
}


router = APIRouter(route_class=DirectRoute)
REFUSED = {422: ""}


@router.get("/api/tags", dependencies=KEY, responses=_TAGS)
async def tags(request: Request) -> Response:
    """The served names, as Ollama lists its models."""
    service = service_of(request.app)
    digest = _digest(service.embeddings.spaces)
    models = [_listed(model, digest) for model in service.models]
    return Response(to_json({"models": models}), media_type=JSON)


@router.post(
    "/api/show",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=documented(
        OllamaShowResponse, "The model.", OllamaError, {**REFUSED, 412: "", 504: ""}
    ),
    openapi_extra=body_of("OllamaShowRequest", {"model": "quintet-mini"}),
)
async def show(request: Request) -> Response:
    """What Ollama says of a model."""
    service = service_of(request.app)
    async with service.bodies.read(request, request_of(request).budget) as body:
        asked = validated(OllamaShowRequest, body)
    served = {model.id: model for model in service.models}
    model = served.get(served_name(asked.model, tuple(served)))
    if model is None:
        raise UnknownModelError(asked.model, tuple(served))
    info = {
        "general.architecture": _FAMILY,
        f"{_FAMILY}.context_length": model.context_length,
        f"{_FAMILY}.embedding_length": model.max_output_length,
    }
    shown = {
        "modified_at": _modified_at(model),
        "details": _details(),
        "model_info": info,
        "capabilities": ["embedding"],
    }
    return Response(to_json(shown), media_type=JSON)


@router.get("/api/version", dependencies=KEY, responses={**_NO_KEY, 200: _VERSION})
async def version(_: Request) -> Response:
    """The version of this service."""
    return Response(to_json({"version": __version__}), media_type=JSON)
