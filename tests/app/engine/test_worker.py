"""A real worker process, spoken to in messages: its promises one by one."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.engine import messages
from app.engine.control import StartFailed, StartWorker, WorkerStarted
from model.embedder import Embedder
from model.rows import Row
from tests.checkpoints import MINI
from tests.conftest import random_row
from tests.workers import Link, WorkerProcess

BATCH_TOKENS = 256


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    worker = WorkerProcess(StartWorker(str(MINI), "cpu", "float32", BATCH_TOKENS))
    yield worker
    worker.close()


@pytest.fixture
def link(worker: WorkerProcess) -> Link:
    return worker.link()


def batches(received: list[messages.FromWorker]) -> list[messages.BatchDone]:
    return [message for message in received if isinstance(message, messages.BatchDone)]


def bulk(rng: np.random.Generator, rows: int = 2048, length: int = 16) -> list[Row]:
    return [random_row(rng, length, index % 5) for index in range(rows)]


def test_it_says_what_it_has_loaded(worker: WorkerProcess) -> None:
    assert isinstance(worker.started, WorkerStarted)
    assert (worker.started.dtype, worker.started.attention) == ("float32", "sdpa, products")
    assert worker.started.max_batch_tokens == BATCH_TOKENS


def test_each_job_gets_its_own_vectors_exactly_once(
    worker: WorkerProcess, link: Link, precise: Embedder, rng: np.random.Generator
) -> None:
    jobs = {}
    for number in range(60):
        count = int(rng.integers(1, 12))
        jobs[number] = [
            random_row(rng, int(rng.integers(2, 90)), [None, 0, 1, 2, 3, 4][rng.integers(6)], 2)
            for _ in range(count)
        ]
        link.embed(number, jobs[number])
    received = [*link.receive_results(len(jobs)), *worker.finish()]
    answers = [message for message in received if isinstance(message, messages.JobResult)]
    assert Counter(answer.job for answer in answers) == Counter(list(jobs))
    for answer in answers:
        found = messages.vectors_of(answer, 384)
        np.testing.assert_allclose(found, precise.embed(jobs[answer.job]), atol=1e-5)
    assert sum(batch.rows for batch in batches(received)) == sum(map(len, jobs.values()))
    assert max(batch.tokens for batch in batches(received)) <= BATCH_TOKENS
    assert max(batch.jobs for batch in batches(received)) > 1


def test_a_single_query_waits_for_at_most_two_batches_of_a_large_job(
    link: Link, rng: np.random.Generator
) -> None:
    link.embed(1, bulk(rng))
    link.receive_until(messages.BatchDone)
    link.embed(2, [random_row(rng, 9, 3)])
    received = link.receive_until(messages.JobResult, 2)
    # The one that runs, the one that is prepared, and its own; one more may be on the link.
    assert len(batches(received)) <= 4
    assert batches(received)[-1].jobs == 2
    link.send(messages.Cancel(1))


def test_a_cancelled_job_is_not_answered_and_its_rows_are_not_run(
    worker: WorkerProcess, link: Link, rng: np.random.Generator
) -> None:
    link.embed(1, bulk(rng))
    before = link.receive_until(messages.BatchDone)
    link.send(messages.Cancel(1))
    link.embed(2, [random_row(rng, 9, 3)])
    received = before + link.receive_until(messages.JobResult, 2) + worker.finish()
    assert [message.job for message in received if isinstance(message, messages.JobResult)] == [2]
    # 128 batches were due; those that ran were done, running or on the link.
    assert len(batches(received)) <= 4


TOKENS = np.array([0, 10**6, 2], np.int32)
POISON = {
    "in the forward pass": Row.single_span(TOKENS, 1),
    "in packing": Row(TOKENS, 1, np.array([[1, 1]], np.int32)),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_a_poisonous_row_fails_alone(
    worker: WorkerProcess, link: Link, precise: Embedder, rng: np.random.Generator, poison: Row
) -> None:
    link.embed(0, bulk(rng, rows=64))  # keeps the device busy while the others gather
    good = {number: [random_row(rng, 20, 1)] for number in (1, 2, 4, 5)}
    for number in (1, 2, 3, 4, 5):
        link.embed(number, good.get(number, [poison]))
    received = [*link.receive_results(6), *worker.finish()]
    failed = [message for message in received if isinstance(message, messages.JobFailed)]
    assert [message.job for message in failed] == [3]
    assert "failed on a text of 3 tokens" in failed[0].reason
    answers = {
        message.job: message for message in received if isinstance(message, messages.JobResult)
    }
    assert set(answers) == {0, 1, 2, 4, 5}
    for number, rows in good.items():
        found = messages.vectors_of(answers[number], 384)
        np.testing.assert_allclose(found, precise.embed(rows), atol=1e-5)


def test_an_http_process_that_is_gone_before_it_is_linked_does_no_harm(
    worker: WorkerProcess, rng: np.random.Generator
) -> None:
    for _ in range(300):
        worker.connection().close()
    link = worker.link()
    link.embed(1, [random_row(rng, 9, 3)])
    assert isinstance(link.receive_until(messages.JobResult, 1)[-1], messages.JobResult)
    worker.finish()


def test_an_http_process_that_reads_nothing_holds_back_no_other_one(
    worker: WorkerProcess, rng: np.random.Generator
) -> None:
    """Its results fill the socket many times over; it gets all of them once it reads again."""
    stalled, link = worker.link(), worker.link()
    large = [random_row(rng, 200, 1, spans=200) for _ in range(20)]
    for job in range(3):  # of 4 MB each
        stalled.embed(job, large)
    rows = [random_row(rng, 9, 3)]
    for job in range(300):
        link.embed(job, rows)
        link.receive_until(messages.JobResult, job)
    stalled_messages = stalled.receive_results(3)
    kinds = Counter(type(message) for message in stalled_messages)
    assert kinds[messages.JobResult] == 3
    assert kinds[messages.BatchDone] < 200, "of others' batches it is told only while it reads"
    link.embed(300, rows)
    assert isinstance(link.receive_until(messages.JobResult, 300)[-1], messages.JobResult)
    worker.finish()


def test_one_http_process_counts_each_batch(
    worker: WorkerProcess, rng: np.random.Generator
) -> None:
    links = [worker.link() for _ in range(3)]
    links[-1].embed(20, [random_row(rng, 9, 3)])  # once it is answered all links are there
    received = links[-1].receive_results(1)
    for job in range(20):
        for link in links:
            link.embed(job, [random_row(rng, 9, 3)])
    received += [message for link in links for message in link.receive_results(20)]
    received += worker.finish()
    counted = [batch for batch in batches(received) if batch.counted]
    assert sum(batch.rows for batch in counted) == 61
    assert len(batches(received)) == 3 * len(counted)


def test_for_an_http_process_that_is_gone_nothing_more_is_computed(
    worker: WorkerProcess, link: Link, rng: np.random.Generator
) -> None:
    link.embed(1, bulk(rng, rows=40_000, length=64))  # minutes of work
    link.receive_until(messages.BatchDone)
    link.close()
    other = worker.link()
    other.embed(1, [random_row(rng, 9, 3)])
    assert len(batches(other.receive_until(messages.JobResult))) <= 4
    worker.finish()


def test_it_ends_with_its_parent_though_an_http_process_is_still_there(
    worker: WorkerProcess, link: Link, rng: np.random.Generator
) -> None:
    """What that has asked for is answered first."""
    link.embed(1, bulk(rng, rows=64))
    link.receive_until(messages.BatchDone)
    assert [each.job for each in worker.finish() if isinstance(each, messages.JobResult)] == [1]


@pytest.mark.parametrize(
    ("folder", "device", "sentence"),
    [(MINI.parent, "cpu", "has no config.json"), (MINI, "cuda:99", "cuda:99 (is not|cannot be)")],
)
def test_a_model_or_a_device_that_cannot_be_used_is_reported(
    folder: Path, device: str, sentence: str
) -> None:
    worker = WorkerProcess(StartWorker(str(folder), device, "auto", None))
    try:
        assert isinstance(worker.started, StartFailed)
        assert re.search(sentence, worker.started.reason)
        worker.finish()
    finally:
        worker.close()
