"""Load: a generator of HTTP requests that is cheap beside the service it measures.

    outcome = asyncio.run(open_loop(url, 40, 20, make_request))
    print(outcome.report())

`open_loop` sends at a constant rate whatever comes back, as the world does; a latency counts from
the moment a request was DUE, so a service that stalls cannot hide it. `closed_loop` has clients
that each wait for their answer, which finds the most a service can do. Every answer goes through
its request's judge, whose word is the answer's kind: "ok" for a right one, else what is wrong.
"""

import asyncio
import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from app.tools.load import quantile_of
from tests.exchange import OK, TIMEOUT, Pool, Request

MakeRequest = Callable[[int], Request]


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of one request: when it was due and sent (s after the start), the seconds from
    due to the answer's last byte, and its kind."""

    due: float
    sent: float
    latency: float
    kind: str
    tokens: int = 0


@dataclass(slots=True)
class Outcome:
    """All samples of a run of `seconds`."""

    seconds: float
    samples: list[Sample] = field(default_factory=list)

    @property
    def kinds(self) -> Counter[str]:
        """How many requests ended in which way."""
        return Counter(sample.kind for sample in self.samples)

    @property
    def failed(self) -> int:
        """Requests that did not get the right answer."""
        return len(self.samples) - self.kinds[OK]

    @property
    def goodput(self) -> float:
        """Right answers per second."""
        return self.kinds[OK] / self.seconds

    @property
    def tokens_per_s(self) -> float:
        """Tokens of right answers per second."""
        return sum(sample.tokens for sample in self.samples if sample.kind == OK) / self.seconds

    def latency(self, quantile: float, kind: str = OK) -> float:
        """The quantile (0..1) of the latencies of one kind, seconds; NaN where there are none."""
        return quantile_of([each.latency for each in self.samples if each.kind == kind], quantile)

    @property
    def lag(self) -> float:
        """The generator's own p99 delay in sending, seconds: if it is large, distrust the rest."""
        return quantile_of([sample.sent - sample.due for sample in self.samples], 0.99)

    def report(self) -> str:
        """One line for people."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.most_common())
        quantiles = (0.5, 0.95, 0.99, 1)
        latencies = " / ".join(f"{1e3 * self.latency(each):.0f}" for each in quantiles)
        return (
            f"{len(self.samples)} requests in {self.seconds:.1f} s ({kinds}); "
            f"{self.goodput:.1f} right/s; p50 / p95 / p99 / max {latencies} ms; "
            f"generator p99 {1e3 * self.lag:.0f} ms late"
        )


async def open_loop(
    url: str,
    rate: float,
    seconds: float,
    make_request: MakeRequest,
    *,
    stop: Callable[[], bool] = lambda: False,
    timeout_s: float = 60,
    reuse: bool = True,
) -> Outcome:
    """Send `rate` requests a second for `seconds` or until `stop()`, and await all answers.

    `make_request(number)` is called for 0, 1, 2, ... With `reuse=False` each request has a
    connection of its own.
    """
    pool = Pool(url, timeout_s, reuse=reuse)
    outcome = Outcome(seconds)
    began = time.perf_counter()

    async def send(request: Request, due: float) -> None:
        sent = time.perf_counter() - began
        kind = await pool.kind_of(request)
        latency = time.perf_counter() - began - due
        outcome.samples.append(Sample(due, sent, latency, kind, request.tokens))

    async with asyncio.TaskGroup() as tasks:
        for number in itertools.count():
            due = number / rate
            request = make_request(number)
            await asyncio.sleep(began + due - time.perf_counter())
            if due >= seconds or stop():
                outcome.seconds = max(due, 1 / rate)
                break
            tasks.create_task(send(request, due))
    pool.close()
    return outcome


async def closed_loop(
    url: str,
    clients: int,
    seconds: float,
    make_request: MakeRequest,
    *,
    stop: Callable[[], bool] = lambda: False,
    timeout_s: float = 60,
) -> Outcome:
    """`clients` that each send a request when the one before is answered, for `seconds`.

    Only answers that came within the time count, so that `goodput` is a rate.
    """
    pool = Pool(url, timeout_s)
    outcome = Outcome(seconds)
    numbers = itertools.count()
    began = time.perf_counter()

    async def client() -> None:
        while not stop():
            request = make_request(next(numbers))
            sent = time.perf_counter() - began
            kind = await pool.kind_of(request)
            now = time.perf_counter() - began
            outcome.samples.append(Sample(sent, sent, now - sent, kind, request.tokens))
            if kind not in (OK, TIMEOUT):
                await asyncio.sleep(0.01)  # a refusal costs the service nothing; do not spin on it

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            for _ in range(clients):
                tasks.create_task(client())
    outcome.seconds = time.perf_counter() - began
    pool.close()
    return outcome


@contextmanager
def under_load(
    url: str, rate: float, make_request: MakeRequest, **options: Any
) -> Iterator[Outcome]:
    """`open_loop` in a thread for as long as the block runs; its outcome is there after the block.

    `options` are those of `open_loop`.
    """
    outcome, left, failures = Outcome(0), threading.Event(), []

    def run() -> None:
        try:
            loop = open_loop(url, rate, math.inf, make_request, stop=left.is_set, **options)
            done = asyncio.run(loop)
            outcome.seconds, outcome.samples = done.seconds, done.samples
        except BaseException as error:  # noqa: BLE001  (raised again below)
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield outcome
    finally:
        left.set()
        thread.join()
    if failures:
        raise failures[0]
