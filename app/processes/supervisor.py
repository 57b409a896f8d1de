"""Supervisor: starts, watches and restarts workers; readiness; the end.

Promises (house numbers):
6. A worker that dies is started again, after a pause that grows while it keeps dying; what it
   held is answered (client.py). Not ready while no worker is. One that hangs is killed by whichever
   HTTP process waits for it (silence.py), since the first one may hold none of its jobs.
7. At the end workers finish what they hold and exit, and one that is still loading is killed, since
   it holds nothing; none outlives the HTTP process, since the end of its stream is a worker's sign
   to go.

The first start is different: a model that cannot be loaded then ends the service, with the reason.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from app.engine import messages
from app.engine.client import EngineClient, Link, Peer
from app.processes.spawn import start_module
from app.processes.revival import Revival
from app.settings import PREFIX

log = logging.getLogger("quintet.engine")

STREAM_BYTES = 1 << 20


class StartError(Exception):
    """A worker could not load its model; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Crew:
    """What workers are started with: a Start each, and who hears of it."""

    starts: tuple[messages.Start, ...]
    on_started: Callable[[int, messages.Started], None]
    on_start_failed: Callable[[str], None]


@contextlib.asynccontextmanager
async def running_workers(crew: Crew, client: EngineClient) -> AsyncIterator[Callable[[], None]]:
    """A worker for each Start, attached to `client` while it is ready; finished on leaving.

    What is yielded kills them, for when nobody is to be waited for.
    """
    minders = [Minder(number, start, crew, client) for number, start in enumerate(crew.starts)]
    client.metrics.workers.set(len(minders))
    tasks = [asyncio.create_task(minder.mind()) for minder in minders]

    def kill() -> None:
        for minder in minders:
            minder.kill()

    try:
        yield kill
    finally:
        for minder in minders:
            minder.finish()
        await asyncio.gather(*tasks)


class Minder:
    """Keeps one worker alive."""

    def __init__(
        self, number: int, start: messages.Start, crew: Crew, client: EngineClient
    ) -> None:
        self._number = number
        self._start = start
        self._crew = crew
        self._client = client
        self._link: Link | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._revival = Revival(f"the worker on {start.device}")

    def finish(self) -> None:
        """Let the worker answer what it holds and go; one that is loading holds nothing."""
        if self._link is None:
            self.kill()
        else:
            self._revival.finish()
            self._link.finish()

    def kill(self) -> None:
        """End the worker, whatever it holds."""
        self._revival.finish()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def mind(self) -> None:
        """Start the worker, and start it again whenever it ends, until `finish`."""
        async for life in self._revival.lives():
            if life:
                self._client.metrics.worker_restarts.inc()
            try:
                await self._live()
            except StartError as error:
                if self._revival.finishing:
                    return
                if not life:
                    named = self._start.device != "auto" and self._start.device in str(error)
                    hint = f" ({PREFIX}DEVICES)" if named else ""
                    self._crew.on_start_failed(f"{error}{hint}")
                    return
                log.error("the worker on %s does not start: %s", self._start.device, error)  # noqa: TRY400

    async def _live(self) -> None:
        """One life of the worker, from its start to its end."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await start_module(
                *("app.engine.worker", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C is for the first HTTP process
            )
        self._process = process
        if self._revival.finishing:
            self.kill()
        reader, writer = await asyncio.open_connection(sock=ours, limit=STREAM_BYTES)
        try:
            writer.write(messages.frame(self._start))
            started = await messages.read_from_worker(reader)
            if not isinstance(started, messages.Started):
                reason = started.reason if isinstance(started, messages.StartFailed) else None
                raise StartError(reason or f"it exited with {await process.wait()}.")
            if self._revival.finishing:  # and so it was killed while its word was on the way
                return
            await self._attached(Peer(self._number, started, reader, writer))
        finally:
            writer.close()
            code = await process.wait()
            self._process = None
            expected = code == 0 or (self._revival.finishing and code == -signal.SIGKILL)
            said = "a worker was ended" if expected and code else f"a worker exited with {code}"
            log.log(logging.INFO if expected else logging.ERROR, said)

    async def _attached(self, peer: Peer) -> None:
        with attached(peer, self._client) as link:
            self._link = link
            self._crew.on_started(self._number, peer.started)
            try:
                await link.collect()
            finally:
                self._link = None


@contextlib.contextmanager
def attached(peer: Peer, client: EngineClient) -> Iterator[Link]:
    """A worker that takes jobs as long as the block lasts."""
    link = Link(peer, client)
    client.attach(link)
    try:
        yield link
    finally:
        client.detach(link)
