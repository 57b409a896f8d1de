"""The further HTTP processes of a service: started, watched, restarted and ended by the first one.

They share its listening socket, so that a connection goes to whoever is free, and lead requests to
the same workers. All parse, tokenise and encode, which one Python process does on one core only.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from prometheus_client import multiprocess

from app.engine import messages
from app.engine.client import EngineClient
from app.processes.spawn import start_module
from app.processes.place import Place
from app.processes.revival import Revival

log = logging.getLogger("quintet")

# Cleaners of temporary files leave alone what is younger than some days.
_TOUCH_S = 3600.0
_LAST_ANSWERS_S = 2.0


class HttpProcesses:
    """All but the first one."""

    def __init__(self, further: int, place: Place, engine: EngineClient) -> None:
        self._numbers = range(1, 1 + further)
        self._place = place
        self._engine = engine
        self._revivals = {n: Revival(f"HTTP process {n}") for n in self._numbers}
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._worker_ready = asyncio.Event()
        self._signals: list[int] = []

    @contextlib.asynccontextmanager
    async def running(self, listener: socket.socket) -> AsyncIterator[None]:
        """They begin when the first worker is ready; on leaving they answer what they have."""
        tasks = [asyncio.create_task(self._mind(number, listener)) for number in self._numbers]
        touching = asyncio.create_task(self._touch())
        try:
            yield
        finally:
            touching.cancel()
            if not self._signals:
                self.signalled(signal.SIGINT)
            await asyncio.gather(*tasks)

    def worker_ready(self, worker: int) -> None:
        """Let them connect to a worker that listens."""
        for writer in self._writers.values():
            writer.write(messages.frame(self._ready(worker)))
        self._worker_ready.set()

    def signalled(self, number: int) -> None:
        """Pass on a signal that ends the service."""
        self._signals.append(number)
        for revival in self._revivals.values():
            revival.finish()
        for writer in self._writers.values():
            writer.write(messages.frame(messages.Signalled(number)))
        self._worker_ready.set()

    def kill(self) -> None:
        """Wait for them no longer than it takes to say that a killed worker does not answer."""
        asyncio.get_running_loop().call_later(_LAST_ANSWERS_S, self._kill)

    def _kill(self) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def _touch(self) -> None:
        while True:
            await asyncio.sleep(_TOUCH_S)
            self._place.touch()

    def _ready(self, worker: int) -> messages.WorkerReady:
        path = self._place.listen(worker)
        assert path is not None, "several processes have a folder"
        return messages.WorkerReady(worker, path)

    async def _mind(self, number: int, listener: socket.socket) -> None:
        await self._worker_ready.wait()
        async for _ in self._revivals[number].lives():
            await self._live(number, listener)

    async def _live(self, number: int, listener: socket.socket) -> None:
        """One life of an HTTP process, from its start to its end."""
        folder: Path | None = self._place.folder
        ours, theirs = socket.socketpair()
        sockets = listener.fileno(), theirs.fileno()
        arguments = str(folder), str(number), *map(str, sockets)
        with theirs:
            process = await start_module(
                *("app.processes.http_process", *arguments),
                pass_fds=sockets,
                start_new_session=True,  # a terminal's Ctrl-C is for the first process
            )
        _, writer = await asyncio.open_connection(sock=ours)
        self._writers[number] = writer
        self._processes[number] = process
        for worker in self._engine.ready_workers:
            writer.write(messages.frame(self._ready(worker)))
        for signalled in self._signals:
            writer.write(messages.frame(messages.Signalled(signalled)))
        try:
            code = await process.wait()
            expected = code == 0 or (self._signals and code == -signal.SIGKILL)
            log.log(
                logging.INFO if expected else logging.ERROR,
                *("HTTP process %d exited with %d", number, code),
            )
        finally:
            del self._writers[number], self._processes[number]
            writer.close()
            self._engine.queues.clear(number)
            multiprocess.mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
