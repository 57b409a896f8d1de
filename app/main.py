"""Joins the rooms: builds the application, starts the engine, serves, drains.

Promise 7 of the house is kept here: after SIGTERM /ready turns 503 at once and answers ask callers
to close their connections; after the drain delay the port closes; every accepted request is
answered; the workers finish; exit 0. An interrupt from the keyboard skips the delay.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.exceptions import HTTPException

from app import __version__
from app.api import routes
from app.api.embeddings import Embeddings, Rules
from app.api.frame import Frame, answer_error
from app.api.routes import Served
from app.api.schemas import Model
from app.engine.client import EngineClient
from app.engine.messages import Start, Started
from app.engine.supervisor import Crew, running_workers
from app.errors import QuintetError
from app.greeting import SMALL_MODEL_NOTE, greeting
from app.metrics import Metrics
from app.settings import EMBEDDED_MODEL, NO_TASK, Settings, SettingsError
from model.config import EncoderConfig, read_config
from model.sources import EMBEDDED_FOLDER, locate
from model.tasks import Tasks, UnknownTaskError
from model.tokenizer import Tokenizer

log = logging.getLogger("quintet")

# Longer than a balancer keeps its idle connections (usually 60 s), so that it is never surprised.
KEEP_ALIVE_S = 75


def create_app(settings: Settings) -> FastAPI:
    """The application, whose lifespan is the engine's. Fetches the checkpoint if it is not here.

    Raises:
        CheckpointError, SettingsError: it cannot be served; the sentence says why.
    """
    embedded = settings.model == EMBEDDED_MODEL
    folder = EMBEDDED_FOLDER if embedded else locate(settings.model, settings.model_revision)
    config = read_config(folder)
    names = served_names(settings)
    metrics = Metrics(__version__, names[0])
    engine = EngineClient(settings.max_queue_tokens, settings.request_timeout_s, metrics)
    served = Served(
        _embeddings(settings, folder, config, engine),
        engine,
        metrics,
        tuple(_model(name, folder, config, embedded=embedded) for name in names),
        settings.max_body_bytes,
    )

    def greet(started: Started) -> None:
        for text in greeting(settings, config, started, names):
            log.info(text)
        app.state.on_ready()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        starts = tuple(
            Start(
                folder=str(folder),
                device=device,
                dtype=settings.dtype,
                max_batch_tokens=settings.max_batch_tokens,
                log_format=settings.log_format,
            )
            for device in settings.devices
        )
        crew = Crew(starts, config.hidden_size, metrics, greet, app.state.on_start_failed)
        async with running_workers(crew, engine):
            yield

    app = FastAPI(
        title="Quintet",
        version=__version__,
        summary="Embeddings of jina-embeddings-v3: five task adapters, resident together.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
    )
    app.state.served = served
    app.include_router(routes.router)
    app.add_exception_handler(QuintetError, answer_error)
    app.add_exception_handler(HTTPException, answer_error)
    app.add_middleware(Frame, served=served)
    _document(app)
    return app


def served_names(settings: Settings) -> tuple[str, ...]:
    """The names requests may ask for: those of the setting, then the model's own.

    A hub id answers to its last part too: jinaai/jina-embeddings-v3 to jina-embeddings-v3.
    """
    own = settings.model
    last = Path(own).expanduser().resolve().name if Path(own).exists() else own.rpartition("/")[2]
    full = () if Path(own).exists() or own == last else (own,)
    return tuple(dict.fromkeys((*settings.served_model_names, last, *full)))


def _embeddings(
    settings: Settings, folder: Path, config: EncoderConfig, engine: EngineClient
) -> Embeddings:
    tasks = Tasks(config)
    default = None if settings.default_task == NO_TASK else settings.default_task
    try:
        tasks.named(default)
    except UnknownTaskError as error:
        raise SettingsError(f"EMBED_DEFAULT_TASK: {error} Or choose {NO_TASK}.") from None
    rules = Rules(served_names(settings), default, settings.max_inputs, config.hidden_size)
    return Embeddings(rules, tasks, Tokenizer(folder, config), engine)


def _model(name: str, folder: Path, config: EncoderConfig, *, embedded: bool) -> Model:
    return Model(
        id=name,
        object="model",
        created=int((folder / "config.json").stat().st_mtime),
        owned_by="quintet",
        name=name,
        description=SMALL_MODEL_NOTE if embedded else "Served by Quintet.",
        context_length=config.max_tokens,
        max_output_length=config.hidden_size,
        matryoshka_dimensions=list(config.matryoshka_dimensions),
        tasks=list(config.tasks),
    )


def _document(app: FastAPI) -> None:
    """Add to the served document what FastAPI cannot see: the body that is read from bytes."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            document["components"]["schemas"]["EmbeddingsRequest"] = routes.request_schema()
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]


class Server(uvicorn.Server):
    """uvicorn with a drain, and with an exit code that says whether the model could be loaded."""

    def __init__(self, settings: Settings, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=int(settings.request_timeout_s) + 1,
            )
        )
        self._served: Served = app.state.served
        self._drain_delay_s = settings.drain_delay_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self.exit_code = 0
        app.state.on_ready = self.on_ready
        app.state.on_start_failed = self.on_start_failed

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. Probes are answered from here on, while the model is still loading."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def on_ready(self) -> None:
        """A worker is ready: tell where."""
        address, port = self.servers[0].sockets[0].getsockname()[:2]
        log.info("  serving  http://%s:%d", f"[{address}]" if ":" in address else address, port)

    def on_start_failed(self, reason: str) -> None:
        """The model cannot be loaded: end with the reason."""
        log.error("cannot start: %s", reason)
        self.exit_code = 1
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """The first signal drains, a second one skips the delay, a third one waits for nobody."""
        if self.should_exit:
            self.force_exit = True
        elif self._served.draining or sig == signal.SIGINT or self._loop is None:
            self._served.draining = True
            self.should_exit = True
        else:
            self._served.draining = True
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        assert self._loop is not None
        log.info("draining: not ready; the port closes in %g s", self._drain_delay_s)
        self._loop.call_later(self._drain_delay_s, setattr, self, "should_exit", True)


def serve(settings: Settings) -> int:
    """Serve until a signal; the exit code is 0 after a drain, 1 if the model cannot be loaded.

    Raises:
        CheckpointError, SettingsError: as create_app.
    """
    server = Server(settings, create_app(settings))
    try:
        server.run()
    except SystemExit:  # uvicorn's word for an address that cannot be listened on
        return 1
    return server.exit_code
