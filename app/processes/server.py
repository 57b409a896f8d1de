"""Server: listens, serves, drains.

Promise 7 of the house is kept here: after SIGTERM /ready turns 503 at once and answers ask callers
to close their connections; after the drain delay the port closes; every accepted request is
answered; the workers finish; exit 0. An interrupt from the keyboard skips the delay, and so does a
service that has never been ready: nobody was sent here. Before this server has begun, signals.py
ends the process.
"""

import asyncio
import logging
import resource
import select
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.api.served import Served
from app.application import create_app
from app.processes import signals
from app.processes.place import Place
from app.settings import Settings, check_servable
from app.sockets.address import bound_socket, inherited_socket, listen
from app.sockets.guard import guarded

log = logging.getLogger("quintet")

# Open files beside the connections: the model, logs, sockets to the workers.
_OTHER_FILES = 256
# Turns of the loop in which connections are accepted before the port closes, if ever more come.
_MOST_TURNS = 100


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
                http=guarded(settings, app.state.served.metrics),
                ws="none",
                timeout_keep_alive=settings.keep_alive_s,
                timeout_graceful_shutdown=int(settings.request_timeout_s) + 1,
            )
        )
        self._served: Served = app.state.served
        self._drain_delay_s = settings.drain_delay_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._was_ready = False
        self.exit_code = 0
        self._app = app
        app.state.on_ready = self.on_ready
        app.state.on_start_failed = self.on_start_failed

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. Probes are answered from here on, while the model is still loading."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, answer what is accepted, end the engine."""
        listener = getattr(self._app.state, "listener", None)  # the first process has it
        if listener is not None:
            await stop_listening(listener)
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn leaves out the end of the application then
            self._kill()
            await self.lifespan.shutdown()
        if self.lifespan.should_exit:  # it says "failed" in the log, and goes on as if it had not
            self.exit_code = 1

    def on_ready(self) -> None:
        """A worker is ready: from now on others may count on this service."""
        self._was_ready = True

    def on_start_failed(self, reason: str) -> None:
        """The model cannot be loaded: end with the reason, if it is not the end already."""
        if self._served.draining:
            self.should_exit = True
            return
        log.error("cannot start: %s", reason)
        self.exit_code = 1
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """The first signal drains, a second one skips the delay, a third one waits for nobody."""
        skips = self._served.draining or sig == signal.SIGINT or not self._was_ready
        self._served.draining = True
        if self.should_exit:
            self.force_exit = True
        elif skips or self._loop is None:
            self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._pass_on, sig)
            if self.force_exit:
                self._loop.call_soon_threadsafe(self._kill)
            elif not self.should_exit:
                self._loop.call_soon_threadsafe(self._drain)

    def _kill(self) -> None:
        """End the other processes, whatever they hold; the first process has them."""
        for name in ("kill_workers", "kill_others"):
            getattr(self._app.state, name, _nobody)()

    def _pass_on(self, sig: int) -> None:
        others = getattr(self._app.state, "others", None)  # the first process has them
        if others is not None:
            others.signalled(sig)

    def _drain(self) -> None:
        assert self._loop is not None
        log.info("draining: not ready; the port closes in %g s", self._drain_delay_s)
        self._loop.call_later(self._drain_delay_s, setattr, self, "should_exit", True)


def _nobody() -> None:
    """There are no other processes, or not yet."""


async def stop_listening(listener: socket.socket) -> None:
    """Let in whom the system has let in already, and nobody after them. Closing alone takes a turn
    of the loop, and who comes in it would be cut off with a request on its way."""
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    for _ in range(_MOST_TURNS):
        if not waiting.poll(0):
            break
        await asyncio.sleep(0)
    listener.shutdown(socket.SHUT_RDWR)


def serve(settings: Settings, place: Place, fd: int | None = None) -> int:
    """Serve until a signal; the exit code is 0 after a drain, 1 if the model cannot be loaded.

    `fd` is a bound socket that is inherited; without it the address is that of the settings.

    Raises:
        CheckpointError, SettingsError: as create_app; or the address cannot be listened on.
    """
    check_servable(settings)
    _raise_file_limit(settings.max_connections + _OTHER_FILES)
    listener = bound_socket(settings) if fd is None else inherited_socket(fd)
    with listener:  # first: fetching a checkpoint may take minutes
        app = create_app(settings, place)
        app.state.listener = listener
        server = Server(settings, app)
        listen(listener, settings)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, server.handle_exit)  # uvicorn takes care of the others
        server.run(sockets=[listener])
        signals.ignore()
    return server.exit_code


def _raise_file_limit(files: int) -> None:
    """Systems begin with 1,024, of which idle connections alone could take all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < files:
        log.warning("only %d files may be open here; EMBED_MAX_CONNECTIONS wants more", wanted)
