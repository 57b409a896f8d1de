"""The engine beside one real worker: what sharers get when a row fails, one leaves, all ends."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from app.engine.client import EngineClient, EngineLimits, WorkerLink
from app.engine.control import LinkWorker, StartWorker, WorkerStarted
from app.engine.queue_table import QueueTable, make_table
from app.errors import DeadlineError, ForwardError, QuintetError, WorkerLostError
from app.telemetry.metrics import ServiceMetrics
from model import embedder
from model.embedder import Embedder
from model.rows import Row, Vectors
from tests.checkpoints import Shape
from tests.conftest import random_row
from tests.workers import WorkerProcess

POISON = Row.single_span(np.array([0, 10**6, 2], np.int32), 1)
CACHED = ("quintet_rows_total", {"source": "cached"})


@pytest.fixture(scope="module")
def worker(original: Path) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(StartWorker(str(original), "cpu", "float32", 256))
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def alone(original: Path) -> Embedder:
    """The same model in this process."""
    return embedder.load(original, "cpu", "float32")


@contextlib.asynccontextmanager
async def linked(worker: WorkerProcess) -> AsyncIterator[tuple[EngineClient, psutil.Process]]:
    """An engine in this process, and its real worker, which is suspended."""
    assert isinstance(worker.started, WorkerStarted)
    limits = EngineLimits(10**6, 10**6, 600, 600, cache_bytes=1 << 20)
    table = QueueTable(make_table(1, 1), 1)
    engine = EngineClient(limits, Shape().width, table, ServiceMetrics("0", "a model", ()))
    streams = await asyncio.open_connection(sock=worker.connection())
    link = WorkerLink(LinkWorker(0, worker.started), streams, engine)
    engine.add_link(link)
    collecting = asyncio.create_task(link.collect())
    process = psutil.Process(worker.process.pid)
    process.suspend()
    try:
        yield engine, process
    finally:
        if process.is_running():
            process.resume()
        streams[1].close()
        await collecting


async def started(*calls: Coroutine[Any, Any, Vectors]) -> list[asyncio.Task[Vectors]]:
    """Calls that wait by now, one after the other."""
    tasks = [asyncio.create_task(each) for each in calls]
    await asyncio.sleep(0)
    return tasks


async def outcomes(tasks: list[asyncio.Task[Vectors]]) -> list[Vectors | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)


def waiting(engine: EngineClient) -> float:
    return engine.queues.tokens(0)


def test_a_poisonous_row_fails_those_alone_who_asked_for_it(
    worker: WorkerProcess, alone: Embedder, rng: np.random.Generator
) -> None:
    """One job has it; four others have rows of that job, one of them the poisonous one, too."""
    good = [random_row(rng, 20, 1) for _ in range(2)]
    own = [random_row(rng, 50, 1) for _ in range(4)]

    async def main() -> None:
        async with linked(worker) as (engine, process):
            asked = [
                [good[0], POISON, good[1]],
                *([good[1], own[0]], [own[1], good[0]], [POISON, own[2]], [own[3]]),
            ]
            tasks = await started(*(engine.embed(rows) for rows in asked))
            process.resume()
            found = await outcomes(tasks)
            assert [isinstance(each, QuintetError) for each in found] == [
                *(True, False, False, True, False)
            ]
            for each in (found[0], found[3]):
                assert isinstance(each, ForwardError)
                assert "failed on a text of 3 tokens" in str(each)
            for rows, vectors in zip(asked, found, strict=True):
                if not isinstance(vectors, BaseException):
                    np.testing.assert_allclose(vectors, alone.embed(rows), atol=1e-5)
            assert waiting(engine) == 0
            with pytest.raises(ForwardError):  # it is not kept
                await engine.embed([POISON])
            assert engine.metrics.registry.get_sample_value(*CACHED) == 0

    asyncio.run(main())


def test_rows_that_leave_and_come_while_others_wait_keep_their_places(
    worker: WorkerProcess, alone: Embedder, rng: np.random.Generator
) -> None:
    """Random requests over few rows with several spans, a third of them cancelled."""
    pool = [random_row(rng, int(rng.integers(2, 40)), int(rng.integers(5)), 3) for _ in range(12)]
    expected = [alone.embed([row]) for row in pool]

    async def main() -> None:
        async with linked(worker) as (engine, process):
            for _ in range(6):
                chosen = [rng.integers(12, size=rng.integers(1, 7)) for _ in range(30)]
                tasks = await started(*(engine.embed([pool[at] for at in each]) for each in chosen))
                left = set(rng.choice(30, 10, replace=False).tolist())
                for number in left:
                    tasks[number].cancel()
                    await asyncio.sleep(0)
                process.resume()
                for number, found in enumerate(await outcomes(tasks)):
                    if number in left:
                        assert isinstance(found, asyncio.CancelledError | np.ndarray)
                        continue
                    wanted = np.concatenate([expected[at] for at in chosen[number]])
                    np.testing.assert_allclose(found, wanted, atol=1e-5)
                assert waiting(engine) == 0
                process.suspend()
                engine._shared.forget()

    asyncio.run(main())


def test_a_sharers_deadline_is_its_own(worker: WorkerProcess, rng: np.random.Generator) -> None:
    row = random_row(rng, 20, 1)

    async def main() -> None:
        async with linked(worker) as (engine, process):
            patient = engine.limits
            engine.limits = dataclasses.replace(patient, request_timeout_s=0.1)
            (first,) = await started(engine.embed([row]))
            engine.limits = patient
            (second,) = await started(engine.embed([row]))
            with pytest.raises(DeadlineError):
                await first
            assert waiting(engine) == 20
            process.resume()
            assert (await second).shape == (1, Shape().width)
            assert waiting(engine) == 0

    asyncio.run(main())


def test_a_worker_that_ends_fails_each_sharer(original: Path, rng: np.random.Generator) -> None:
    row, other = random_row(rng, 20, 1), random_row(rng, 9, None)
    worker = WorkerProcess(StartWorker(str(original), "cpu", "float32", 256))

    async def main() -> None:
        async with linked(worker) as (engine, process):
            calls = await started(*(engine.embed(rows) for rows in ([row], [other], [row, other])))
            process.kill()
            assert [type(each) for each in await outcomes(calls)] == [WorkerLostError] * 3
            assert waiting(engine) == 0
        worker.close()

    asyncio.run(main())
