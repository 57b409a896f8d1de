"""A load generator: requests to one service over keep-alive connections, in one process.

Promises
1. In a closed loop each of `connections` sends the next request when its last one is answered.
2. In an open loop the request `number` is due at number / rate, whatever comes back. Its latency
   counts from then, so that neither a service that stalls nor a wait for a connection hides it.
3. It ends: nothing is sent after `seconds`, nor more than `most` requests, and what was sent is
   awaited for `timeout_s` at most. What was due and never sent is a failure.
4. A rate is of the answers up to the end, percentiles are of all: an answer that comes after the
   end makes no rate better, and is in the percentiles.
5. Each failure is counted under its kind; it delays its connection's next request by a moment.

Cheap beside what it measures: of an answer only status and length are read, but for a few that are
kept whole for the caller to judge.
"""

import asyncio
import itertools
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import urlsplit

import uvloop

from app.tools.load import Load, Seen
from app.tools.load_connection import PAUSE_S, LoadConnection

_CONNECT_S = 10.0
_REPORT_S = 0.2


def run(load: Load, report: Callable[[int], None] = lambda _: None) -> Seen:
    """Run a load in this process. `report` is told now and then how many answers there are."""
    return uvloop.run(_Run(load).run(report))


class _Run:
    """One process' part of a load."""

    def __init__(self, load: Load) -> None:
        self.load, self.seen = load, Seen()
        self._began = 0.0
        self._numbers = itertools.count(load.first, load.step)
        self._due: deque[tuple[int, float]] = deque()  # of an open loop, not sent yet
        self._free: list[LoadConnection] = []
        self._outstanding = self._done = self._tried = 0
        self._begun, self._over = asyncio.Event(), asyncio.Event()
        self._stopped = False

    @property
    def now(self) -> float:
        """Seconds since the begin."""
        return time.perf_counter() - self._began

    async def run(self, report: Callable[[int], None]) -> Seen:
        """Until the end."""
        async with asyncio.TaskGroup() as tasks:
            connect = self._connector()
            held = [tasks.create_task(self._hold(connect)) for _ in range(self.load.connections)]
            await self._begun.wait()  # all are open, or were refused once
            cpu, self._began = time.process_time(), time.perf_counter()
            end = asyncio.get_running_loop().call_later(self.load.seconds, self._stop)
            if self.load.rate is not None:
                tasks.create_task(self._feed(self.load.rate))
            free, self._free = self._free, []
            for connection in free:
                self.ready(connection)
            while not self._over.is_set():
                report(len(self.seen.latencies))
                await self._sleep(_REPORT_S)
            self.seen.cpu_s = time.process_time() - cpu
            end.cancel()
            for each in held:
                each.cancel()
        return self.seen

    async def _sleep(self, seconds: float) -> None:
        """Not longer than until the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    def _connector(self) -> Callable[[], Awaitable[LoadConnection]]:
        """What opens a connection."""
        address, loop = urlsplit(self.load.url), asyncio.get_running_loop()
        secure = ssl.create_default_context() if address.scheme == "https" else None
        port, host = address.port or (443 if secure else 80), address.hostname or ""

        async def connect() -> LoadConnection:
            async with asyncio.timeout(_CONNECT_S):
                _, connection = await loop.create_connection(
                    lambda: LoadConnection(self), host, port, ssl=secure
                )
                return connection

        return connect

    async def _hold(self, connect: Callable[[], Awaitable[LoadConnection]]) -> None:
        """Keep one connection open."""
        for attempt in itertools.count():
            connection = None
            try:
                connection = await connect()
            except OSError as error:  # a TimeoutError is one, too
                self.failed(f"no connection: {type(error).__name__}")
            self._tried += attempt == 0
            if self._tried == self.load.connections:
                self._begun.set()
            if connection is None:
                await asyncio.sleep(PAUSE_S)
                continue
            try:
                await connection.lost.wait()
            finally:
                connection.close()

    async def _feed(self, rate: float) -> None:
        """Let requests become due."""
        for sent, number in enumerate(self._numbers):
            due = number / rate
            if due >= self.load.seconds or sent == self.load.most or self._stopped:
                break
            await (self._sleep(due - self.now) if due > self.now else asyncio.sleep(0))
            self._due.append((number, due))
            if self._free:
                self.seen.late.append(self.now - due)
                self.ready(self._free.pop())

    def _stop(self) -> None:
        """Nothing is sent any more."""
        self._stopped = True
        if self._due:
            self.failed("not sent, as all connections were busy", len(self._due))
            self._due.clear()
        self._look_whether_over()

    def _look_whether_over(self) -> None:
        if self._stopped and not self._outstanding:
            self._over.set()

    def ready(self, connection: LoadConnection) -> None:
        """A connection can take a request."""
        if not self._begun.is_set() or (self.load.rate is not None and not self._due):
            self._free.append(connection)
        elif not self._stopped and self._outstanding + self._done != self.load.most:
            self._next(connection)

    def _next(self, connection: LoadConnection) -> None:
        number, due = (
            self._due.popleft() if self.load.rate is not None else (next(self._numbers), self.now)
        )
        self._outstanding += 1
        number += self.load.base
        connection.send(self.load.requests.wire(number), number, due)

    def answered(self, number: int, due: float, body: list[bytes]) -> None:
        """Note a right answer."""
        seen, load = self.seen, self.load
        if len(seen.latencies) % load.keep_each == 0 and len(seen.kept) < load.keep:
            seen.kept.append((number, b"".join(body)))
        seen.latencies.append(self.now - due)
        if not self._stopped:
            seen.answered, seen.seconds = len(seen.latencies), self.now
        self.done()

    def failed(self, kind: str, count: int = 1, sentence: str = "") -> None:
        """Note what went wrong."""
        self.seen.failures[kind] += count
        if sentence:
            self.seen.sentences.setdefault(kind, sentence)

    def done(self) -> None:
        """One request less to wait for."""
        self._outstanding -= 1
        self._done += 1
        if self._done == self.load.most:
            self._stop()
        self._look_whether_over()

    def lost(self, connection: LoadConnection) -> None:
        """It can take no requests any more."""
        if connection in self._free:
            self._free.remove(connection)
