"""Mixed load for a while: memory, files and threads stay as they are, and no vector is wrong.

SOAK_SECONDS says how long; `make soak` runs ten minutes.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median_low

import numpy as np
import psutil
import pytest

from app.access.keyfile import add_key
from model.memory import KERNEL_CACHES
from tests.exchange import OK, Answer, Request, get, post
from tests.load import under_load
from tests.mixture import Mixture, bodies
from tests.operations.wire import connect
from tests.server import Service, running
from tests.waiting import wait_until

SECONDS = float(os.environ.get("SOAK_SECONDS", "40"))
pytestmark = [pytest.mark.operations, pytest.mark.timeout(SECONDS + 200)]

# Part of the run that fills caches, pools and arenas, and does not count.
WARM_UP = 0.3
# What one process may grow in the rest: noise of allocators. In ten minutes a leak of 4 kilobytes a
# request is more: 4,200 requests come after the warm-up, and growth() counts four fifths of it.
GROWTH_BYTES = 12_000_000
RATE = 10
# Room for some twenty of the mixture's texts: most give way before they are asked for again.
CACHE_BYTES = 30_000
# Kernels that a worker caches for each shape of a product. With as many as in production
# (model/memory.py) they fill up for minutes on a slow CPU, some hundred megabytes, and what leaks
# does not show beside them.
CACHED_KERNELS = "16"
# Threads that pools may start late.
POOLED_THREADS = 2
# More than ever is asked for, so that the limits are kept but refuse nobody.
LIMITS = {"max_requests_per_minute": 10_000, "max_tokens_per_minute": 10_000_000}


@dataclass
class Watched:
    """A process's own memory (bytes, shared pages not counted), files and threads over time."""

    name: str
    process: psutil.Process
    own: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def look(self) -> None:
        self.own.append(self.process.memory_full_info().uss)
        self.files.append(self.process.num_fds())
        self.threads.append(self.process.num_threads())

    def growth(self) -> float:
        """Bytes by which its memory between requests rises after the warm-up: the median rise from
        one fifth of the samples to the next, times the four of them.

        What a batch needs comes and goes, a hundred megabytes of it, and a sample may fall into
        one; what leaks is there in every sample, so the least of each fifth counts. It leaks in
        every fifth, too, where an allocator takes 16 MB at once, once or twice in minutes, and the
        kernel takes pages for a moment when neighbours need them.
        """
        least = self.least(5, self.own[int(WARM_UP * len(self.own)) :])
        return 4 * median_low([after - before for before, after in pairwise(least)])

    @staticmethod
    def least(parts: int, samples: list[int]) -> list[int]:
        """The least of each of so many parts of the samples, the last of which may be shorter."""
        part = -(-len(samples) // parts)
        return [min(samples[start : start + part]) for start in range(0, len(samples), part)]

    def report(self) -> str:
        return (
            f"{self.name}: {self.own[0] / 1e6:.1f} MB -> {self.own[-1] / 1e6:.1f} MB, "
            f"{self.growth() / 1e6:+.2f} MB after the warm-up, the least of each tenth "
            f"{' '.join(f'{least / 1e6:.0f}' for least in self.least(10, self.own))}; "
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


def settled(watched: Watched) -> int:
    """Open files when the callers' connections are gone: awaited, since closing takes a moment."""
    before = watched.files[0]
    wait_until(lambda: watched.process.num_fds() <= before, f"at most {before} files are open")
    return watched.process.num_fds()


@pytest.mark.parametrize("samples", [40, 600])
@pytest.mark.parametrize("leak", [True, False])
def test_growth_sees_a_leak_in_every_part_of_a_run_and_no_step(samples: int, leak: bool) -> None:
    rng = np.random.default_rng()
    between_batches = np.full(samples, 500e6) + rng.normal(0, 1e5, samples)
    if leak:  # a third over the bound
        own = between_batches + np.linspace(0, 4 / 3 / 0.8 / 0.7 * GROWTH_BYTES, samples)
    else:
        first, second = rng.choice(samples, 2, replace=False)
        own = between_batches + 16e6 * (np.arange(samples) > first)
        own += 16e6 * (np.arange(samples) > second)
    own[::4] += 100e6  # samples that fall into a batch
    watched = Watched("process", psutil.Process(), own=[int(each) for each in own])
    assert (watched.growth() > GROWTH_BYTES) == leak


def test_a_long_run_leaks_nothing_and_every_vector_is_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for cache in KERNEL_CACHES:
        monkeypatch.setenv(cache, CACHED_KERNELS)
    key, hasty = (add_key(tmp_path / "keys", name) for name in ("steady", "hasty"))
    with running(keys_file=tmp_path / "keys", cache_bytes=CACHE_BYTES, **LIMITS) as service:
        mixture, further = Mixture(service.url, bodies(rounds=1), key), others(key)

        def make_request(number: int) -> Request:
            return further[number // 5 % len(further)] if number % 5 == 0 else mixture(number)

        (http_process,), (worker,) = service.http_processes(), service.workers()
        watched = [
            Watched("HTTP process", http_process),
            Watched("worker", worker),
        ]
        until = time.monotonic() + SECONDS
        hurried = callers_who_hang_up(service, hasty)
        with hurried, under_load(service.url, RATE, make_request) as outcome:
            while time.monotonic() < until:
                for each in watched:
                    each.look()
                time.sleep(min(1.0, SECONDS / 40))
        left = [settled(each) for each in watched]
        waiting = service.metric("queue_tokens")
        text = service.log.text()
    print(outcome.report(), *(each.report() for each in watched), sep="\n")
    assert outcome.failed == 0, outcome.kinds
    assert len(outcome.samples) >= 0.9 * RATE * SECONDS
    assert waiting == 0
    assert "Traceback" not in text
    for each, files in zip(watched, left, strict=True):
        assert each.growth() <= GROWTH_BYTES, each.report()
        assert files <= each.files[0], each.report()
        early = max(each.threads[: len(each.threads) // 3])
        assert each.threads[-1] <= early + POOLED_THREADS, each.report()
