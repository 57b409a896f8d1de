"""The application of a process that has batch jobs alone, and has them computed elsewhere."""

import contextlib
from collections.abc import AsyncIterator

import httpx
from fastapi import APIRouter, FastAPI, Request, Response

from app import __version__
from app.access.callers import callers_of
from app.api.bodies import Bodies
from app.api.context import EdgeContext, attach_service, edge_of
from app.api.middleware import add_middleware, plain_paths
from app.api.openapi import JSON
from app.api.routes import operations
from app.api.vectors import to_json
from app.batches import context
from app.batches.folder import open_shelf
from app.batches.routes import router as batch_router
from app.batches.runner import Runner
from app.batches.sender import UrlSender
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import tracing_of

_HERE = (
    "batch jobs alone are here, at /v1/files, /v1/batches and /v1/batch/embeddings. For all else "
    "ask the service that computes them."
)

_probes = APIRouter()
_probes.get("/live")(operations.live)
_probes.get("/metrics")(operations.metrics)


def create_app(settings: Settings, folder: str, http: httpx.AsyncClient) -> FastAPI:
    """The application, whose lines go to the service at the address of `http`.

    Raises:
        SettingsError: the folder or the keys cannot be used.
    """
    app = FastAPI(
        title="Quintet's batch jobs",
        version=__version__,
        lifespan=_lifespan,
        redirect_slashes=False,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    metrics = Metrics(__version__, "batches")
    callers = callers_of(settings, metrics)
    edge = EdgeContext(
        settings=settings,
        metrics=metrics,
        callers=callers,
        bodies=Bodies(settings, metrics),
        tracing=tracing_of(),
        whats_here=_HERE,
    )
    attach_service(app, edge)
    shelf = open_shelf(settings, folder, metrics.registry)
    runner = Runner(shelf, UrlSender(http, callers, metrics), lambda: edge.draining)
    context.attach_batches(app, context.Batches(shelf, runner))
    routes = [*batch_router.routes, *_probes.routes]
    app.include_router(APIRouter(routes=routes))
    # It is near to /v1/embeddings, and something else.
    edge.paths = plain_paths(routes) - {"/v1/batch/embeddings"}
    edge.routes = tuple(routes)
    add_middleware(app, edge, routes)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with contextlib.aclosing(edge_of(app).callers), context.running(app):
        yield


@_probes.get("/health")
@_probes.get("/ping")
@_probes.get("/ready")
async def ready(request: Request) -> Response:
    """Requests are welcome; whether the lines of jobs are answered is another question."""
    draining = edge_of(request.app).draining
    body = {"status": "draining" if draining else "ok"}
    return Response(to_json(body), 503 if draining else 200, media_type=JSON)
