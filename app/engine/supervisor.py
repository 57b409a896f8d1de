"""Supervisor: starts, watches and restarts workers; readiness; the end.

Promises (house numbers):
6. A worker that dies is started again, after a pause that grows while it keeps dying; what it
   held is answered (client.py). Not ready while no worker is.
7. At the end workers finish what they hold and exit; none outlives the HTTP process, since the end
   of its stream is a worker's sign to go.

The first start is different: a model that cannot be loaded then ends the service, with the reason.
"""

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from app.engine import messages
from app.engine.client import EngineClient, Link
from app.metrics import Metrics

log = logging.getLogger("quintet.engine")

_STREAM_BYTES = 1 << 20
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
# A worker that has worked this long has recovered: the next pause is short again.
_RECOVERED_S = 60.0


class StartError(Exception):
    """A worker could not load its model; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Crew:
    """What workers are started with: a Start each, the vectors' width, and who hears of it."""

    starts: tuple[messages.Start, ...]
    width: int
    metrics: Metrics
    on_started: Callable[[messages.Started], None]
    on_start_failed: Callable[[str], None]


@contextlib.asynccontextmanager
async def running_workers(crew: Crew, client: EngineClient) -> AsyncIterator[None]:
    """A worker for each Start, attached to `client` while it is ready; finished on leaving."""
    minders = [Minder(start, crew, client) for start in crew.starts]
    tasks = [asyncio.create_task(minder.mind()) for minder in minders]
    try:
        yield
    finally:
        for minder in minders:
            minder.finish()
        await asyncio.gather(*tasks)


class Minder:
    """Keeps one worker alive."""

    def __init__(self, start: messages.Start, crew: Crew, client: EngineClient) -> None:
        self._start = start
        self._crew = crew
        self._client = client
        self._link: Link | None = None
        self._finishing = asyncio.Event()

    def finish(self) -> None:
        """Let the worker answer what it holds and go."""
        self._finishing.set()
        if self._link is not None:
            self._link.finish()

    async def mind(self) -> None:
        """Start the worker, and start it again whenever it ends, until `finish`."""
        pause, first = _FIRST_PAUSE_S, True
        while not self._finishing.is_set():
            began = time.monotonic()
            try:
                await self._work()
            except StartError as error:
                if first:
                    self._crew.on_start_failed(str(error))
                    return
                log.error("the worker on %s does not start: %s", self._start.device, error)  # noqa: TRY400
            first = False
            if self._finishing.is_set():
                return
            pause = _FIRST_PAUSE_S if time.monotonic() - began > _RECOVERED_S else pause
            log.error("the worker on %s ended; again in %.1f s", self._start.device, pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._finishing.wait(), pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            self._crew.metrics.worker_restarts.inc()

    async def _work(self) -> None:
        """One life of the worker, from its start to its end."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "app.engine.worker", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
            )
        reader, writer = await asyncio.open_connection(sock=ours, limit=_STREAM_BYTES)
        try:
            writer.write(messages.frame(self._start))
            started = await messages.read_from_worker(reader)
            if not isinstance(started, messages.Started):
                reason = started.reason if isinstance(started, messages.StartFailed) else None
                raise StartError(reason or f"it exited with {await process.wait()}.")
            await self._attached(
                Link(reader, writer, self._crew.width, self._crew.metrics), started
            )
        finally:
            writer.close()
            code = await process.wait()
            log.log(logging.INFO if code == 0 else logging.ERROR, "a worker exited with %d", code)

    async def _attached(self, link: Link, started: messages.Started) -> None:
        self._link = link
        link.started = started
        self._client.attach(link)
        self._crew.on_started(started)
        if self._finishing.is_set():
            link.finish()
        try:
            await link.collect()
        finally:
            self._link = None
            self._client.detach(link)
