"""A further HTTP process of a service, started by the first one.

    python -m app.processes.http_process FOLDER NUMBER LISTENER CONTROL

FOLDER is what the processes share, LISTENER the listening socket, CONTROL a socket over which the
first process says which workers are ready and which signals came. Signals themselves are ignored:
they are sent to the first process only, or to all.
"""

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

from app.application import create_app
from app.engine import messages
from app.engine.client import Peer
from app.processes import signals
from app.processes.place import Place
from app.processes.server import Server
from app.processes.supervisor import STREAM_BYTES, attached
from app.settings import read_settings
from app.telemetry.logs import configure_logging

log = logging.getLogger("quintet")


class FurtherServer(Server):
    """A server that is led by the first process, and listens when it has a worker."""

    number: int
    control: socket.socket

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        log.info("HTTP process %d serves", self.number)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until the first process says otherwise, or is gone."""
        self._linked = asyncio.Event()
        self._links: set[asyncio.Task[None]] = set()
        listening = asyncio.create_task(self._listen())
        await self._linked.wait()
        if not self.should_exit:
            await super().serve(sockets)
        for task in (listening, *self._links):
            task.cancel()

    def handle_exit(self, *_: object) -> None:
        """See the top of the file."""

    async def _listen(self) -> None:
        reader, _ = await asyncio.open_connection(sock=self.control)
        while (word := await messages.read_to_http_process(reader)) is not None:
            if isinstance(word, messages.WorkerReady):
                task = asyncio.create_task(self._link(word))
                self._links.add(task)
                task.add_done_callback(self._links.discard)
            else:
                super().handle_exit(word.number, None)
                self._linked.set()
        log.error("the first HTTP process is gone")
        os._exit(1)

    async def _link(self, word: messages.WorkerReady) -> None:
        """Give a worker jobs until it ends."""
        try:
            reader, writer = await asyncio.open_unix_connection(word.path, limit=STREAM_BYTES)
        except OSError as error:
            log.warning("worker %d cannot be reached: %s", word.worker, error)
            return
        started = await messages.read_from_worker(reader)
        if isinstance(started, messages.Started):
            with attached(Peer(word.worker, started, reader, writer), self._service.engine) as link:
                self._linked.set()
                self.on_ready()
                log.info("HTTP process %d is linked to worker %d", self.number, word.worker)
                await link.collect()
        writer.close()


def main() -> int:
    """Serve; the exit code."""
    signals.ignore()
    folder, number, listener, control = sys.argv[1:]
    settings = read_settings()
    configure_logging(settings.log_format)
    if not (Path(folder) / "queues").exists():
        log.error("the folder %s, which HTTP processes share, is gone: restart the service", folder)
        return 1
    place = Place(int(number), Path(folder))
    place.make_metrics_folder()
    app = create_app(settings, place)
    server = FurtherServer(settings, app)
    server.number = int(number)
    server.control = socket.socket(fileno=int(control))
    server.run(sockets=[socket.socket(fileno=int(listener))])
    return server.exit_code


if __name__ == "__main__":
    sys.exit(main())
