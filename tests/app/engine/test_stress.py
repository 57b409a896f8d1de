"""Many links at once, with failures and cancellations among them: every vector is compared."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from app.engine import messages
from model import embedder
from model.embedder import Embedder
from model.rows import Row
from tests.app.engine.devices import AsynchronousEmbedder
from tests.conftest import random_row
from tests.workers import Link, WorkerThreads

LINKS, JOBS = 4, 100
BATCH_TOKENS = 256
MEMORY_TOKENS = 200  # a larger batch fails, as if there were no memory for it
POISON = Row.single_span(np.array([0, 10**6, 2], np.int32), 1)
ADAPTERS = (None, 0, 1, 2, 3, 4)


def fail_if_large(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    if len(inputs[0]) > MEMORY_TOKENS:
        raise torch.OutOfMemoryError("emulated")


@pytest.fixture(params=["synchronous", "asynchronous"])
def loaded(request: pytest.FixtureRequest, original: Path) -> Iterator[Embedder]:
    """Its batches of more than so many tokens fail in the last block."""
    loaded = embedder.load(original, "cpu", "float32")
    hook = loaded.encoder.blocks[-1].register_forward_pre_hook(fail_if_large)
    yield AsynchronousEmbedder(loaded) if request.param == "asynchronous" else loaded
    hook.remove()


class Caller:
    """A client of one link: it sends jobs, takes some back, and judges what comes."""

    def __init__(self, link: Link, pool: list[Row], expected: list[np.ndarray], seed: int) -> None:
        self._link, self._pool, self._expected = link, pool, expected
        rng = np.random.default_rng(seed)
        self.jobs = [rng.integers(len(pool), size=rng.integers(1, 12)) for _ in range(JOBS)]
        self.poisoned = set(rng.integers(JOBS, size=5).tolist())
        self.cancelled = set(rng.integers(JOBS, size=15).tolist()) - self.poisoned
        self._room = threading.Semaphore(20)  # jobs under way at once
        self._expect = JOBS - len(self.cancelled)

    def send(self) -> None:
        for number, chosen in enumerate(self.jobs):
            rows = [self._pool[at] for at in chosen]
            if number in self.poisoned:
                rows[len(rows) // 2] = POISON
            if number not in self.cancelled:
                assert self._room.acquire(timeout=60)
            self._link.embed(number, rows)
            if number in self.cancelled:
                self._link.send(messages.Cancel(number))

    def receive(self) -> None:
        answered: set[int] = set()
        while len(answered - self.cancelled) < self._expect:
            message = self._link.receive()
            assert message is not None, "the worker has gone"
            if isinstance(message, messages.BatchDone):
                assert message.tokens <= BATCH_TOKENS
                continue
            assert message.job not in answered, "a job is answered once"
            answered.add(message.job)
            if message.job not in self.cancelled:
                self._room.release()
            if message.job in self.poisoned:
                assert isinstance(message, messages.JobFailed)
                assert message.reason == "the model failed on a text of 3 tokens."
            else:
                assert isinstance(message, messages.JobResult)
                expected = np.concatenate([self._expected[at] for at in self.jobs[message.job]])
                found = messages.vectors_of(message, expected.shape[1])
                np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_caller_gets_its_own_vectors_whatever_the_others_do(
    loaded: Embedder, original: Path, rng: np.random.Generator
) -> None:
    pool = [
        random_row(
            rng, int(rng.integers(2, 60)), ADAPTERS[rng.integers(6)], int(rng.integers(1, 4))
        )
        for _ in range(150)
    ]
    alone = embedder.load(original, "cpu", "float32")
    expected = [alone.embed([row]) for row in pool]
    worker = WorkerThreads(loaded, BATCH_TOKENS)
    callers = [Caller(worker.link(), pool, expected, seed) for seed in rng.integers(2**32, size=4)]
    with ThreadPoolExecutor(2 * LINKS) as threads:
        for done in [
            threads.submit(work) for each in callers for work in (each.send, each.receive)
        ]:
            done.result()
    assert not any(isinstance(each, messages.JobFailed) for each in worker.finish())
    worker.close()
