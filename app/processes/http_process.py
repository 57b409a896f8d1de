"""HTTP process: accepts connections and hands jobs to workers, as the parent says.

    python -m app.processes.http_process FD NUMBER

It keeps promises 9 and 10 of ../engine/README.md. FD is the control socket (../engine/control.py).
It accepts connections from Serve on, linked to all workers that are ready by then. Signals are
ignored: they are for the parent.
"""

import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
from pathlib import Path

from app.processes import signals

# First, since the imports below take a second; and only if this is the program.
if __name__ == "__main__":
    signals.ignore()

from fastapi import FastAPI

from app.api.context import service_of
from app.application import create_app
from app.engine import control
from app.engine.client import WorkerLink
from app.engine.queue_table import QueueTable
from app.processes.metrics_folder import VARIABLE
from app.processes.server import Server
from app.settings import Settings, SettingsError, read_settings
from app.telemetry.logs import configure_logging
from model.config import CheckpointError
from model.fingerprint import digest_of_readers
from model.memory import exempt_loaded_objects

log = logging.getLogger("quintet")

# Of one message: the reader's buffer grows to it.
_STREAM_BYTES = 1 << 20


class ControlledServer(Server):
    """A server that the parent tells when to begin and when to end."""

    def __init__(self, settings: Settings, app: FastAPI, parent: control.ControlSocket) -> None:
        super().__init__(settings, app)
        self._service = service_of(app)
        self._parent = parent
        self._may_serve = asyncio.Event()
        self._links: set[asyncio.Task[None]] = set()
        self._serving = False  # it listens, and has had a worker
        self.name: str | None = None
        """Under which it logs when it serves, and with which workers; None logs neither."""

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until the parent says otherwise, or has gone."""
        received: asyncio.Queue[tuple[control.ToChild, list[int]] | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def receive() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                try:
                    while message := self._parent.receive():
                        loop.call_soon_threadsafe(received.put_nowait, message)
                finally:
                    loop.call_soon_threadsafe(received.put_nowait, None)

        threading.Thread(target=receive, name="control", daemon=True).start()
        following = asyncio.create_task(self._follow(received))
        following.add_done_callback(_exit_unless_cancelled)
        await self._may_serve.wait()
        await super().serve(sockets)
        following.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        exempt_loaded_objects()
        self._log_serving()

    async def _follow(
        self, received: asyncio.Queue[tuple[control.ToChild, list[int]] | None]
    ) -> None:
        while (next_one := await received.get()) is not None:
            message, descriptors = next_one
            if isinstance(message, control.LinkWorker):
                await self._link_worker(message, socket.socket(fileno=descriptors[0]))
            elif isinstance(message, control.Serve):
                self._may_serve.set()
            elif isinstance(message, control.CountRestart):
                self._service.metrics.worker_restarts.inc()
            elif isinstance(message, control.Drain):
                self._service.draining = True
            elif isinstance(message, control.Finish):
                self._service.draining = self.should_exit = True
        log.error("the parent process has gone")
        os._exit(1)

    async def _link_worker(self, message: control.LinkWorker, connection: socket.socket) -> None:
        """Hand jobs to a worker until it ends."""
        streams = await asyncio.open_connection(sock=connection, limit=_STREAM_BYTES)
        engine = self._service.engine
        link = WorkerLink(message, streams, engine)
        engine.add_link(link)
        collecting = asyncio.create_task(link.collect())
        self._links.add(collecting)
        collecting.add_done_callback(self._links.discard)
        with contextlib.suppress(ConnectionError):  # the parent has gone
            self._parent.send(control.WorkerLinked(message.started.process))
        self._log(f"is linked to worker {message.worker}")
        self._log_serving()

    def _log_serving(self) -> None:
        if self.started and self._service.engine.ready and not self._serving:
            self._serving = True
            self._log("serves")

    def _log(self, what: str) -> None:
        if self.name is not None:
            log.info("%s %s", self.name, what)


def _exit_unless_cancelled(following: asyncio.Task[None]) -> None:
    """Without the parent's messages there are no workers and no end: start anew."""
    if not following.cancelled():
        log.error("the parent's messages cannot be followed", exc_info=following.exception())
        os._exit(1)


def main() -> int:
    """Serve; the exit code."""
    parent, number = control.ControlSocket(socket.socket(fileno=int(sys.argv[1]))), int(sys.argv[2])
    received = parent.receive()
    if received is None:  # the parent has gone
        return 1
    start, (listener, table) = received
    assert isinstance(start, control.StartHttpProcess), "what the parent sends first"
    try:
        settings = read_settings()
        configure_logging(settings.log_format)
        if (folder := os.environ.get(VARIABLE)) is not None:  # it may have been cleaned away
            Path(folder).mkdir(mode=0o700, exist_ok=True)
        queues = QueueTable(table, len(settings.devices), number)
        app = create_app(settings, model := Path(start.folder), queues)
        readers = digest_of_readers(model, start.readers)
    except (CheckpointError, SettingsError) as error:
        with contextlib.suppress(ConnectionError):  # the parent has gone
            parent.send(control.StartFailed(str(error)))
        return 0
    server = ControlledServer(settings, app, parent)
    if VARIABLE in os.environ or start.restarted:  # one of several
        server.name = f"HTTP process {number}"
    with contextlib.suppress(ConnectionError):  # the server sees that the parent has gone
        parent.send(control.ApplicationBuilt(readers))
    server.run(sockets=[socket.socket(fileno=listener)])
    return int(server.lifespan.should_exit)


if __name__ == "__main__":
    sys.exit(main())
