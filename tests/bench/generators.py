"""Load generators: closed loops over keep-alive connections, in processes of their own.

    with generators(4) as fleet:
        seen = fleet.run(Load(url, wires, connections=64, seconds=5))

Cheap beside what they measure, so that a GPU's rate can be asked for: requests are bytes made
beforehand, and of an answer only status and length are read. A few whole answers come back, for
the caller to judge.
"""

import asyncio
import multiprocessing
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# Seconds for the answers that are outstanding at the end: more than any batch takes on a CPU.
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Load:
    """`connections` that each send the next one of `wires` when the one before is answered, for
    `seconds`. Every `keep_each`th answer is kept, `keep` at most in each process."""

    url: str
    wires: Sequence[bytes]
    connections: int
    seconds: float
    keep: int = 4
    keep_each: int = 23
    offset: int = 0  # of the first wire


@dataclass(slots=True)
class Seen:
    """What became of a load: the seconds from its begin to the last answer, the latencies of right
    answers, how many went wrong in which way, (index of its wire, body) of the answers that were
    kept, and CPU seconds of the generators."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    kept: list[tuple[int, bytes]] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def per_s(self) -> float:
        """Right answers per second."""
        return len(self.latencies) / self.seconds

    def latency(self, quantile: float) -> float:
        """The quantile (0..1) of the latencies, seconds."""
        values = sorted(self.latencies)
        return values[min(int(quantile * len(values)), len(values) - 1)]

    def add(self, other: "Seen") -> None:
        """The same load's part in another process."""
        self.seconds = max(self.seconds, other.seconds)
        self.latencies += other.latencies
        self.failures += other.failures
        self.kept += other.kept
        self.cpu_s += other.cpu_s


class Fleet:
    """Running generators."""

    def __init__(self, pool: ProcessPoolExecutor, count: int) -> None:
        self._pool = pool
        self._count = count
        self._running: list[Future[Seen]] = []

    def begin(self, load: Load) -> None:
        """Spread the connections over the processes."""
        busy = min(load.connections, self._count)
        self._running = [
            self._pool.submit(
                run,
                replace(
                    load,
                    connections=len(range(index, load.connections, busy)),
                    offset=index * len(load.wires) // busy,
                ),
            )
            for index in range(busy)
        ]

    def finish(self) -> Seen:
        """Wait until the load is over."""
        seen = Seen()
        for each in self._running:
            seen.add(each.result())
        assert not seen.failures, seen.failures  # a wrong answer makes the figures worthless
        return seen

    def run(self, load: Load) -> Seen:
        """Both."""
        self.begin(load)
        return self.finish()


@contextmanager
def generators(count: int) -> Iterator[Fleet]:
    """That many processes, ended with the block."""
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        for each in [pool.submit(time.sleep, 0.5) for _ in range(count)]:
            each.result()  # so that all are there
        yield Fleet(pool, count)


def run(load: Load) -> Seen:
    """Run a load in this process."""
    return uvloop.run(_run(load))


class _Run:
    """One process' part of a load."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.seen = Seen()
        self.began = 0.0
        self._number = load.offset
        self._open = load.connections
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def next_wire(self) -> int:
        """The index of the wire to send; -1 when the time is over."""
        if time.perf_counter() - self.began >= self.load.seconds:
            self.closed()
            return -1
        self._number += 1
        return self._number % len(self.load.wires)

    def answered(self, wire: int, latency: float, status: bytes, body: memoryview) -> None:
        """Note an answer."""
        seen, load = self.seen, self.load
        seen.seconds = time.perf_counter() - self.began
        if status != b"200":
            seen.failures[status.decode()] += 1
            return
        if len(seen.latencies) % load.keep_each == 0 and len(seen.kept) < load.keep:
            seen.kept.append((wire, bytes(body)))
        seen.latencies.append(latency)

    def closed(self) -> None:
        """One connection is done."""
        self._open -= 1
        if not self._open and not self.over.done():
            self.over.set_result(None)


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._buffer = bytearray()
        self._head = self._size = 0  # bytes, of the answer that is coming in
        self._wire = -1
        self._sent = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send(self) -> None:
        """Send the next request, if there is time."""
        self._wire = self._run.next_wire()
        if self._wire >= 0:
            self._sent = time.perf_counter()
            self._transport.write(self._run.load.wires[self._wire])

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._size:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(buffer, 0, end)
            assert length is not None, "an answer without Content-Length"
            self._head = end + 4
            self._size = self._head + int(length[1])
        if len(buffer) < self._size:
            return
        latency = time.perf_counter() - self._sent
        with memoryview(buffer) as view:
            self._run.answered(self._wire, latency, bytes(view[9:12]), view[self._head :])
        self._size = 0
        buffer.clear()
        self.send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._wire >= 0:
            self._run.seen.failures[f"broken off: {error}"] += 1
            self._run.closed()


async def _run(load: Load) -> Seen:
    """Connect all, then send."""
    address = urlsplit(load.url)
    run, loop = _Run(load), asyncio.get_running_loop()
    pairs = [
        await loop.create_connection(lambda: _Connection(run), address.hostname, address.port)
        for _ in range(load.connections)
    ]
    cpu, run.began = time.process_time(), time.perf_counter()
    for _, connection in pairs:
        connection.send()
    try:
        await asyncio.wait_for(run.over, _PATIENCE_S)
    except TimeoutError:
        run.seen.failures["no answer"] += 1
    run.seen.cpu_s = time.process_time() - cpu
    for transport, _ in pairs:
        transport.close()
    return run.seen
