"""Mixed load for a while: memory, files and threads stay as they are, and no vector is wrong.

The load comes in parts with a rest after each, in which a process has what it keeps and nothing of
what a batch needs for a moment. SOAK_SECONDS says how long; `make soak` runs ten minutes.
"""

import asyncio
import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from app.access.keyfile import add_key
from model.memory import KERNEL_CACHES
from tests.exchange import OK, Answer, Request, get, post
from tests.load import MakeRequest, Outcome, closed_loop
from tests.mixture import Mixture, bodies
from tests.operations.wire import connect
from tests.server import Service, bearer, running
from tests.waiting import wait_until

SECONDS = float(os.environ.get("SOAK_SECONDS", "40"))
pytestmark = [pytest.mark.operations, pytest.mark.timeout(SECONDS + 200)]

PARTS = 10
# Parts that fill caches, pools and arenas, and do not count.
WARM_UP = 3
# What one process may grow in the rest: noise of allocators, measured .2 MB in a worker and 1 in an
# HTTP process. In ten minutes (some 1,800 requests) a leak of two kilobytes a request is more.
GROWTH_BYTES = 3_000_000
CLIENTS = 8
# Room for some twenty of the mixture's texts: most give way before they are asked for again.
CACHE_BYTES = 30_000
# In production a worker keeps what it frees, and kernels for hundreds of shapes, so its heap grows
# for minutes in steps of ten megabytes, and what leaks does not show beside them. Here everything
# over 64 KB goes back to the system at once (model/memory.py lets the environment decide).
RETURNED = {
    "MALLOC_MMAP_MAX_": "65536",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    **dict.fromkeys(KERNEL_CACHES, "16"),
    "OMP_NUM_THREADS": "1",
}
# Threads that pools may start late.
POOLED_THREADS = 2
# More than ever is asked for, so that the limits are kept but refuse nobody.
LIMITS = {"max_requests_per_minute": 10_000, "max_tokens_per_minute": 10_000_000}


@dataclass
class Watched:
    """A process's own memory (bytes; no pages of files, which may be shared), files and threads: at
    the start, and in the rest after each part."""

    name: str
    process: psutil.Process
    own: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def look(self) -> None:
        memory = self.process.memory_info()
        self.own.append(memory.rss - memory.shared)
        self.files.append(self.process.num_fds())
        self.threads.append(self.process.num_threads())

    @property
    def growth(self) -> int:
        """Bytes by which it has grown since the warm-up."""
        return self.own[-1] - self.own[WARM_UP]

    def report(self) -> str:
        return (
            f"{self.name}: {self.growth / 1e6:+.2f} MB after the warm-up, "
            f"MB {' '.join(f'{own / 1e6:.1f}' for own in self.own)}; "
            f"files {self.files[0]} -> {self.files[-1]} (at most {max(self.files)}); "
            f"threads {self.threads[0]} -> {self.threads[-1]} (at most {max(self.threads)})"
        )


def right_when(status: int) -> Callable[[Answer], str]:
    def judge(answer: Answer) -> str:
        return OK if answer.status == status else f"{answer.status} in place of {status}"

    return judge


def others(key: str) -> list[Request]:
    """What is refused, and what is not about embeddings."""
    return [
        post({"input": "x", "task": "no such task"}, right_when(422), key=key),
        post(b'{"input": ', right_when(400), key=key),
        post({"input": ["word"] * 3000}, right_when(400), key=key),
        post({"input": ["word " * 100] * 500, "late_chunking": True}, right_when(400), key=key),
        post({"input": "x"}, right_when(401), key="unknown"),
        get("/nowhere", right_when(404)),
        get("/metrics"),
        get("/ready"),
    ]


@contextmanager
def callers_who_hang_up(service: Service, key: str) -> Iterator[None]:
    """Two a second send a request and do not wait for the answer."""
    over = threading.Event()
    wire = post({"input": ["a text that nobody waits for"] * 20}, key=key).wire

    def run() -> None:
        while not over.wait(0.5):
            with connect(service.url) as connection:
                connection.sendall(wire)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def load_for(seconds: float, url: str, make_request: MakeRequest) -> Outcome:
    """Clients that each wait for their answer, so that no machine is too slow for them."""
    until = time.monotonic() + seconds

    def stop() -> bool:
        return time.monotonic() > until

    return asyncio.run(closed_loop(url, CLIENTS, math.inf, make_request, stop=stop))


def come_to_rest(service: Service, key: str, watched: Sequence[Watched]) -> None:
    """Wait until nothing is computed or open: all batches, those of callers who hung up too, come
    before the last one, and closing a connection takes a moment."""
    with service.client(headers=bearer(key)) as client:
        last = client.post("/v1/embeddings", json={"input": "the last text"})
    assert last.status_code == 200
    wait_until(lambda: service.metric("queue_tokens") == 0, "an empty queue")
    for each in watched:
        most = each.files[0]
        wait_until(lambda each=each, most=most: each.process.num_fds() <= most, f"{most} files")


def test_a_long_run_leaks_nothing_and_every_vector_is_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable, value in RETURNED.items():
        monkeypatch.setenv(variable, value)
    key, hasty = (add_key(tmp_path / "keys", name) for name in ("steady", "hasty"))
    with running(keys_file=tmp_path / "keys", cache_bytes=CACHE_BYTES, **LIMITS) as service:
        mixture, further = Mixture(service.url, bodies(rounds=1), key), others(key)
        numbers = itertools.count()

        def make_request(_: int) -> Request:
            number = next(numbers)
            return further[number // 5 % len(further)] if number % 5 == 0 else mixture(number)

        (http_process,), (worker,) = service.http_processes(), service.workers()
        watched = [Watched("HTTP process", http_process), Watched("worker", worker)]
        outcomes = []
        for each in watched:
            each.look()
        for _ in range(PARTS):
            with callers_who_hang_up(service, hasty):
                outcomes.append(load_for(SECONDS / PARTS, service.url, make_request))
            come_to_rest(service, key, watched)
            for each in watched:
                each.look()
        text = service.log.text()
    print(*(each.report() for each in (*outcomes, *watched)), sep="\n")
    assert not any(each.failed for each in outcomes), [each.kinds for each in outcomes]
    assert all(each.samples for each in outcomes)
    assert "Traceback" not in text
    for each in watched:
        assert each.growth <= GROWTH_BYTES, each.report()
        assert each.threads[-1] <= each.threads[WARM_UP] + POOLED_THREADS, each.report()
