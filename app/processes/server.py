"""Server: uvicorn with connection limits; its shutdown keeps promise 9 of ../engine/README.md."""

import asyncio
import contextlib
import select
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from app.api.context import edge_of
from app.settings import Settings
from app.sockets.guard import guarded

# Iterations of the loop in which connections are accepted before the port closes, at most.
_MOST_ITERATIONS = 100


class Server(uvicorn.Server):
    """The server of one HTTP process."""

    def __init__(self, settings: Settings, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                http=guarded(settings, edge_of(app).metrics),
                ws="none",
                timeout_keep_alive=settings.keep_alive_s,
                timeout_graceful_shutdown=int(settings.request_timeout_s) + 1,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: they are for the parent."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, answer what is accepted, end the application."""
        for listener in sockets or ():
            await stop_listening(listener)
        await super().shutdown(sockets)


async def stop_listening(listener: socket.socket) -> None:
    """Accept connections already in the backlog, then shut the socket, so that none is reset."""
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    for _ in range(_MOST_ITERATIONS):
        if not waiting.poll(0):
            break
        await asyncio.sleep(0)
    with contextlib.suppress(OSError):  # another HTTP process has shut it down already
        listener.shutdown(socket.SHUT_RDWR)
