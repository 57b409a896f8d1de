"""What is served and how it fares: GET /info, the models, the probes, the metrics."""

from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.admission import KEY, identify
from app.api.context import ServiceContext, edge_of, service_of
from app.api.openapi import JSON, refused, responses
from app.api.response_models import Health, Info, Model, ModelList, WorkerInfo
from app.api.vectors import to_json
from app.errors import UnknownModelError

router = APIRouter()


@router.get("/info", dependencies=KEY, responses=responses(Info, "What is served.", 401))
async def info(request: Request) -> Response:
    """What is served: model, sizes, limits, tasks, workers."""
    service = service_of(request.app)
    workers = [
        {name: getattr(worker, name) for name in WorkerInfo.model_fields}
        for worker in service.engine.workers
    ]
    spaces = service.embeddings.spaces.listed()
    ours = {**service.info, "embedding_spaces": spaces, "workers": workers}
    body = {**ours, **service.more_info(service)}
    return Response(to_json(body), media_type=JSON)


@router.get(
    "/v1/models", dependencies=KEY, responses=responses(ModelList, "The served names.", 401)
)
async def list_models(request: Request) -> Response:
    """The served names."""
    data = list(_models(service_of(request.app)).values())
    return Response(to_json({"object": "list", "data": data}), media_type=JSON)


@router.get(
    "/v1/models/{name:path}",
    dependencies=KEY,
    response_model=Model,
    responses=responses(Model, "One served name.", 401, 404),
)
async def get_model(request: Request, name: str) -> Response:
    """One served name."""
    models = _models(service_of(request.app))
    if name not in models:
        raise UnknownModelError(name, tuple(models))
    return Response(to_json(models[name]), media_type=JSON)


def _models(service: ServiceContext) -> dict[str, dict[str, Any]]:
    """The served names, each with its model."""
    spaces = {"embedding_spaces": service.embeddings.spaces.listed()}
    return {model.id: model.model_dump() | spaces for model in service.models}


@router.get("/live", response_model=Health)
async def live() -> Response:
    """The process answers. True while a model is loading or a worker is started again."""
    return Response(to_json({"status": "ok"}), media_type=JSON)


@router.get("/health", response_model=Health, responses={503: {"model": Health}})
@router.get("/ping", response_model=Health, responses={503: {"model": Health}})
@router.get("/ready", response_model=Health, responses={503: {"model": Health}})
async def ready(request: Request) -> Response:
    """Requests are welcome: a worker has its model loaded and the service is not draining."""
    service = service_of(request.app)
    status = "draining" if service.draining else "ok" if service.engine.ready else "not ready"
    code = 200 if status == "ok" else 503
    return Response(to_json({"status": status}), code, media_type=JSON)


@router.get(
    "/metrics",
    response_class=Response,
    responses=refused(401),
    openapi_extra={"security": [{"key": []}]},
)
async def metrics(request: Request) -> Response:
    """All series in Prometheus' text format."""
    edge = edge_of(request.app)
    if not edge.settings.metrics_open:
        identify(request)
    return Response(edge.metrics.exposition(), media_type="text/plain; version=0.0.4")
