"""Joins the rooms: builds the application, whose lifespan is the engine's."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from app import __version__
from app.access.callers import Callers, callers_of
from app.api import routes
from app.api.answers import Model
from app.api.bodies import Bodies
from app.api.document import describe
from app.api.embeddings import CHUNKS_PER_INPUT, Embeddings, Rules
from app.api.frame import Frame, Refused, answer_error
from app.api.hosts import Hosts
from app.api.served import Served
from app.engine.client import EngineClient, Limits
from app.engine.messages import Start, Started
from app.errors import QuintetError
from app.processes import banner
from app.processes.http_processes import HttpProcesses
from app.processes.place import Place
from app.processes.supervisor import Crew, running_workers
from app.settings import NO_TASK, Settings, SettingsError
from app.sockets.address import Address, address_of
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import tracing_of
from model.config import EncoderConfig, read_config
from model.cpus import usable_cpus
from model.hub import EMBEDDED_MODEL, locate
from model.tasks import Tasks, UnknownTaskError
from model.tokenizer import Tokenizer

log = logging.getLogger("quintet")

FIRST_AND_ONLY = Place()
# How long a browser need not ask again; Chromium keeps it no longer.
_PREFLIGHT_S = 7200


def create_app(settings: Settings, place: Place = FIRST_AND_ONLY) -> FastAPI:
    """The application. Fetches the checkpoint if it is not here.

    Whoever serves it sets `app.state.on_ready`, called when a worker has its model loaded, and
    `app.state.on_start_failed`, called with the reason when the first one cannot, and
    `app.state.listener`, the socket it listens on; further HTTP processes share it.

    Raises:
        CheckpointError, SettingsError: it cannot be served; the sentence says why.
    """
    folder = locate(settings.model, settings.model_revision)
    config = read_config(folder)
    names = served_names(settings)
    metrics = Metrics(__version__, names[0], config.tasks)
    metrics.queue_tokens_limit.set(settings.max_queue_tokens * len(settings.devices))
    queues = place.queues(len(settings.devices))
    limits = Limits(settings.max_queue_tokens, settings.request_timeout_s, settings.batch_timeout_s)
    engine = EngineClient(limits, config.hidden_size, queues, metrics, first=place.first)
    app = FastAPI(
        title="Quintet",
        version=__version__,
        summary="Embeddings of jina-embeddings-v3: five task adapters, resident together.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=_lifespan(settings, folder, config, place),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.served = Served(
        _embeddings(settings, folder, config, engine, metrics),
        engine,
        metrics,
        Bodies(settings.max_bodies_bytes, metrics),
        tuple(
            _model(name, folder, config, embedded=settings.model == EMBEDDED_MODEL)
            for name in names
        ),
        settings,
        _facts(settings, config),
        tracing_of(),
    )
    app.state.callers = callers_of(settings, metrics)
    app.include_router(routes.router)
    app.mount("/playground", StaticFiles(directory=routes.PLAYGROUND), "playground")
    app.add_exception_handler(QuintetError, answer_error)
    app.add_exception_handler(HTTPException, answer_error)
    _frame(app, settings, metrics)
    describe(app)
    return app


def _frame(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    """What is around the routes, from the inside out."""
    app.add_middleware(Refused, hosts=Hosts(settings, metrics))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],
            allow_private_network=True,  # a page of the internet that asks a service at home
            expose_headers=["*"],
            max_age=_PREFLIGHT_S,
        )
    app.add_middleware(Frame, served=app.state.served)


def _lifespan(
    settings: Settings, folder: Path, config: EncoderConfig, place: Place
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """What runs as long as the application does; the engine in the first process only."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        callers: Callers = app.state.callers
        served: Served = app.state.served
        async with contextlib.AsyncExitStack() as running:
            await running.enter_async_context(contextlib.aclosing(callers))
            if place.first:
                await running.enter_async_context(_engine(app, settings, folder, config, place))
            yield
        if served.tracing:
            await asyncio.to_thread(served.tracing.close)

    return lifespan


@contextlib.asynccontextmanager
async def _engine(
    app: FastAPI, settings: Settings, folder: Path, config: EncoderConfig, place: Place
) -> AsyncIterator[None]:
    """Workers, and further HTTP processes, which end before them."""
    served: Served = app.state.served
    engine = served.engine
    others = HttpProcesses(settings.http_processes - 1, place, engine)
    app.state.others, app.state.kill_others = others, others.kill

    address = address_of(app.state.listener)

    def greet(worker: int, started: Started) -> None:
        if not served.draining:
            known = banner.facts(settings, config, started, served_names(settings))
            _greet(known, address, settings.log_format)
        others.worker_ready(worker)
        app.state.on_ready()

    crew = Crew(_starts(settings, folder, place), greet, app.state.on_start_failed)
    async with running_workers(crew, engine) as kill_workers, others.running(app.state.listener):
        app.state.kill_workers = kill_workers
        yield


def _greet(known: dict[str, Any], address: Address, log_format: str) -> None:
    if log_format == "json":
        fields = banner.event(known, address)
        log.info(fields["message"], extra={"fields": fields})
    else:
        for text in banner.lines(known, address):
            log.info(text)


def _starts(settings: Settings, folder: Path, place: Place) -> tuple[Start, ...]:
    """What each worker is started with.

    Workers that share a CPU share its cores out: threads that wait for a core that another one has
    are slower than fewer threads.
    """
    on_cpu = sum(device == "cpu" for device in settings.devices)
    shared = max(1, usable_cpus() // on_cpu) if on_cpu > 1 else None
    threads = settings.cpu_threads or shared
    return tuple(
        Start(
            folder=str(folder),
            device=device,
            dtype=settings.dtype,
            max_batch_tokens=settings.max_batch_tokens,
            log_format=settings.log_format,
            listen=place.listen(worker),
            threads=threads,
        )
        for worker, device in enumerate(settings.devices)
    )


def served_names(settings: Settings) -> tuple[str, ...]:
    """The names requests may ask for: those of the setting, then the model's own.

    A hub id answers to its last part too: jinaai/jina-embeddings-v3 to jina-embeddings-v3.
    """
    own = settings.model
    last = Path(own).expanduser().resolve().name if Path(own).exists() else own.rpartition("/")[2]
    full = () if Path(own).exists() or own == last else (own,)
    return tuple(dict.fromkeys((*settings.served_model_names, last, *full)))


def _embeddings(
    settings: Settings,
    folder: Path,
    config: EncoderConfig,
    engine: EngineClient,
    metrics: Metrics,
) -> Embeddings:
    tasks = Tasks(config)
    default = None if settings.default_task == NO_TASK else settings.default_task
    try:
        tasks.named(default)
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
    return Embeddings(rules, tasks, Tokenizer(folder, config), engine, metrics)


def _model(name: str, folder: Path, config: EncoderConfig, *, embedded: bool) -> Model:
    return Model(
        id=name,
        object="model",
        created=int((folder / "config.json").stat().st_mtime),
        owned_by="quintet",
        name=name,
        description=banner.SMALL_MODEL_NOTE if embedded else "Served by Quintet.",
        context_length=config.max_tokens,
        max_output_length=config.hidden_size,
        matryoshka_dimensions=list(config.matryoshka_dimensions),
        tasks=list(config.tasks),
    )


def _facts(settings: Settings, config: EncoderConfig) -> dict[str, Any]:
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
        "default_task": None if settings.default_task == NO_TASK else settings.default_task,
    }
