"""Builds the application: routes, middleware, exception handlers and what they share."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.staticfiles import StaticFiles

from app import __version__
from app.access.callers import callers_of
from app.api.bodies import Bodies
from app.api.context import ServiceContext, attach_service, service_of
from app.api.embeddings import CHUNKS_PER_INPUT, EmbeddingService, Rules
from app.api.middleware import add_middleware, plain_paths
from app.api.openapi import describe
from app.api.response_models import Model
from app.api.routes import router
from app.api.routes.pages import PLAYGROUND
from app.batches import context as batches
from app.batches.folder import open_shelf
from app.batches.routes import BODIES as BATCH_BODIES
from app.batches.routes import router as batch_router
from app.batches.runner import Runner
from app.batches.sender import AppSender
from app.dialects.registry import add_dialects
from app.engine.client import EngineClient, EngineLimits
from app.engine.queue_table import QueueTable, make_table
from app.served_names import MINI_NOTE, served_names
from app.settings import Settings, SettingsError
from app.telemetry.metrics import LANES, ServiceMetrics
from app.telemetry.tracing import tracing_of
from model.config import NO_TASK, EncoderConfig, read_config
from model.hub import EMBEDDED_MODEL, locate
from model.tasks import Tasks, UnknownTaskError
from model.tokenizer import Tokenizer


def create_app(
    settings: Settings, folder: Path | None = None, queues: QueueTable | None = None
) -> FastAPI:
    """The application of one HTTP process. It takes jobs when workers are linked to its engine.

    `folder` has the checkpoint; None fetches it. `queues` is shared with other HTTP processes; None
    is for one that has no others.

    Raises:
        CheckpointError, SettingsError: it cannot be served; the sentence says why.
    """
    folder = folder or locate(settings.model, settings.model_revision)
    queues = queues or QueueTable(make_table(1, len(settings.devices)), len(settings.devices))
    service = _context(settings, folder, queues)
    app = FastAPI(
        title="Quintet",
        version=__version__,
        summary="Embeddings of jina-embeddings-v3: five task adapters, resident together.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=_lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    attach_service(app, service)
    dialects = add_dialects(settings.dialects, service)
    _attach_batches(app, service)
    routers = (router, batch_router, *(each.router for each in dialects))
    routes = [route for each in routers for route in each.routes]
    app.include_router(APIRouter(routes=routes))
    app.mount("/playground", StaticFiles(directory=PLAYGROUND), "playground")
    service.paths, service.routes = plain_paths(routes), tuple(routes)
    add_middleware(app, service, routes)
    describe(app, [*BATCH_BODIES, *(body for each in dialects for body in each.bodies)])
    return app


def _attach_batches(app: FastAPI, service: ServiceContext) -> None:
    """Let the application work on batch jobs, if the settings name a folder for them."""
    settings = service.settings
    if settings.data_dir is None:
        batches.attach_batches(app, None)
        return
    shelf = open_shelf(settings, settings.data_dir, service.metrics.registry)
    runner = Runner(shelf, AppSender(app), lambda: service.draining)
    check = service.embeddings.checked_task
    batches.attach_batches(app, batches.Batches(shelf, runner, check))


def _context(settings: Settings, folder: Path, queues: QueueTable) -> ServiceContext:
    config = read_config(folder)
    names = served_names(settings)
    metrics = ServiceMetrics(__version__, names[0], config.tasks)
    metrics.workers.set(len(settings.devices))
    queue_bounds = settings.max_queue_tokens, settings.flex_queue_tokens
    for lane, bound in zip(LANES, queue_bounds, strict=True):
        metrics.queue_tokens_limit.labels(lane).set(bound * len(settings.devices))
    limits = EngineLimits(
        *queue_bounds,
        settings.request_timeout_s,
        settings.batch_timeout_s,
        settings.cache_bytes,
        settings.flex_share,
    )
    engine = EngineClient(limits, config.hidden_size, queues, metrics)
    embedded = settings.model == EMBEDDED_MODEL
    embeddings = _embeddings(settings, folder, config, engine)
    return ServiceContext(
        settings=settings,
        metrics=metrics,
        engine=engine,
        callers=callers_of(settings, metrics),
        embeddings=embeddings,
        bodies=Bodies(settings, metrics),
        models=tuple(_model(name, folder, config, embedded=embedded) for name in names),
        info=_info(settings, config, embeddings.rules),
        tracing=tracing_of(),
    )


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service = service_of(app)
    async with contextlib.aclosing(service.callers), batches.running(app):
        yield
    if service.tracing:
        await asyncio.to_thread(service.tracing.close)


def _embeddings(
    settings: Settings, folder: Path, config: EncoderConfig, engine: EngineClient
) -> EmbeddingService:
    tasks = Tasks(config)
    default = None if settings.default_task == NO_TASK else settings.default_task
    try:
        default = tasks.by_name(default).name
    except UnknownTaskError as error:
        raise SettingsError(f"EMBED_DEFAULT_TASK: {error} Or choose {NO_TASK}.") from None
    rules = Rules(
        served_names(settings),
        default,
        settings.max_inputs,
        config.max_tokens,
        settings.max_document_tokens,
        config.hidden_size,
    )
    return EmbeddingService(rules, tasks, Tokenizer(folder, config), engine, engine.metrics)


def _model(name: str, folder: Path, config: EncoderConfig, *, embedded: bool) -> Model:
    return Model(
        id=name,
        object="model",
        created=int((folder / "config.json").stat().st_mtime),
        owned_by="quintet",
        name=name,
        description=MINI_NOTE if embedded else "Served by Quintet.",
        context_length=config.max_tokens,
        max_output_length=config.hidden_size,
        matryoshka_dimensions=list(config.matryoshka_dimensions),
        tasks=list(config.tasks),
    )


def _info(settings: Settings, config: EncoderConfig, rules: Rules) -> dict[str, Any]:
    """What GET /info says, but for the workers."""
    return {
        "version": __version__,
        "model": settings.model,
        "revision": settings.model_revision,
        "served_names": list(served_names(settings)),
        "width": config.hidden_size,
        "matryoshka_dimensions": list(config.matryoshka_dimensions),
        "max_tokens": config.max_tokens,
        "max_document_tokens": settings.max_document_tokens,
        "max_inputs": settings.max_inputs,
        "max_chunks": settings.max_inputs * CHUNKS_PER_INPUT,
        "tasks": list(config.tasks),
        "default_task": rules.default_task,
    }
