"""A real worker process, spoken to in messages: its promises one by one."""

import re
import socket
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from app.engine import messages
from app.engine.worker import Worker
from model import embedder
from model.embedder import Embedder
from model.rows import Row
from tests.checkpoints import MINI
from tests.conftest import random_row

BATCH_TOKENS = 256


class Wire:
    """The HTTP process' end of a worker's stream."""

    def __init__(self, listen: Path | None = None) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(60)
        with theirs:
            arguments = [sys.executable, "-m", "app.engine.worker", str(theirs.fileno())]
            self.process = subprocess.Popen(arguments, pass_fds=[theirs.fileno()])
        at = None if listen is None else str(listen)
        self.say(messages.Start(str(MINI), "cpu", "float32", BATCH_TOKENS, listen=at))
        self.started = self.hear()

    def say(self, message: messages.ToWorker) -> None:
        self.socket.sendall(messages.frame(message))

    def embed(self, job: int, rows: list[Row]) -> None:
        self.say(messages.embed_message(job, rows))

    def hear(self) -> messages.FromWorker | None:
        head = messages._receive(self.socket, 4)
        if head is None:
            return None
        body = messages._receive(self.socket, int.from_bytes(head, "little"))
        return messages._from_worker.decode(body)

    def hear_until(self, kind: type, job: int | None = None) -> list[messages.FromWorker]:
        """All words up to the first of that kind, for that job."""
        words = []
        while True:
            word = self.hear()
            assert word is not None, "the worker has gone"
            words.append(word)
            if isinstance(word, kind) and (job is None or word.job == job):
                return words

    def finish(self) -> list[messages.FromWorker]:
        """End the stream; what the worker still says. Its exit code must be 0."""
        self.socket.shutdown(socket.SHUT_WR)
        words = list(iter(self.hear, None))
        assert self.process.wait(60) == 0
        return words


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.socket.close()
    wire.process.wait(60)


def batches(words: list[messages.FromWorker]) -> list[messages.BatchDone]:
    return [word for word in words if isinstance(word, messages.BatchDone)]


def bulk(rng: np.random.Generator, rows: int = 2048, length: int = 16) -> list[Row]:
    return [random_row(rng, length, index % 5) for index in range(rows)]


def test_it_says_what_it_has_loaded(wire: Wire) -> None:
    assert isinstance(wire.started, messages.Started)
    assert (wire.started.dtype, wire.started.attention) == ("float32", "sdpa, products")
    assert wire.started.max_batch_tokens == BATCH_TOKENS


def test_each_job_gets_its_own_vectors_exactly_once(
    wire: Wire, precise: Embedder, rng: np.random.Generator
) -> None:
    jobs = {}
    for number in range(60):
        count = int(rng.integers(1, 12))
        jobs[number] = [
            random_row(rng, int(rng.integers(2, 90)), [None, 0, 1, 2, 3, 4][rng.integers(6)], 2)
            for _ in range(count)
        ]
        wire.embed(number, jobs[number])
    words = wire.finish()
    answers = [word for word in words if isinstance(word, messages.Answer)]
    assert Counter(answer.job for answer in answers) == Counter(list(jobs))
    for answer in answers:
        found = messages.vectors_of(answer, 256)
        np.testing.assert_allclose(found, precise.embed(jobs[answer.job]), atol=1e-5)
    assert sum(batch.rows for batch in batches(words)) == sum(map(len, jobs.values()))
    assert max(batch.tokens for batch in batches(words)) <= BATCH_TOKENS
    assert max(batch.jobs for batch in batches(words)) > 1


def test_a_single_query_waits_for_at_most_two_batches_of_a_large_job(
    wire: Wire, rng: np.random.Generator
) -> None:
    wire.embed(1, bulk(rng))
    wire.hear_until(messages.BatchDone)
    wire.embed(2, [random_row(rng, 9, 3)])
    words = wire.hear_until(messages.Answer, 2)
    # The one that runs, the one that is prepared, and its own; one more may be on the wire.
    assert len(batches(words)) <= 4
    assert batches(words)[-1].jobs == 2
    wire.say(messages.Cancel(1))


def test_a_cancelled_job_is_not_answered_and_its_rows_are_not_run(
    wire: Wire, rng: np.random.Generator
) -> None:
    wire.embed(1, bulk(rng))
    before = wire.hear_until(messages.BatchDone)
    wire.say(messages.Cancel(1))
    wire.embed(2, [random_row(rng, 9, 3)])
    words = before + wire.finish()
    assert [word.job for word in words if isinstance(word, messages.Answer)] == [2]
    # 128 batches were due; those that ran were done, running or on the wire.
    assert len(batches(words)) <= 4


TOKENS = np.array([0, 10**6, 2], np.int32)
POISON = {
    "in the forward pass": Row.single_span(TOKENS, 1),
    "in packing": Row(TOKENS, 1, np.array([[1, 1]], np.int32)),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_a_poisonous_row_fails_alone(
    wire: Wire, precise: Embedder, rng: np.random.Generator, poison: Row
) -> None:
    wire.embed(0, bulk(rng, rows=64))  # keeps the device busy while the others gather
    good = {number: [random_row(rng, 20, 1)] for number in (1, 2, 4, 5)}
    for number in (1, 2, 3, 4, 5):
        wire.embed(number, good.get(number, [poison]))
    words = wire.finish()
    failed = [word for word in words if isinstance(word, messages.Failed)]
    assert [word.job for word in failed] == [3]
    assert "failed on a text of 3 tokens" in failed[0].reason
    answers = {word.job: word for word in words if isinstance(word, messages.Answer)}
    assert set(answers) == {0, 1, 2, 4, 5}
    for number, rows in good.items():
        found = messages.vectors_of(answers[number], 256)
        np.testing.assert_allclose(found, precise.embed(rows), atol=1e-5)


def test_halves_run_when_the_memory_of_the_pass_that_failed_is_free_again(
    rng: np.random.Generator,
) -> None:
    """A pass over more than one row fails in the last block, as if there were no more memory."""
    loaded = embedder.load(MINI, "cpu")
    failed: list[weakref.ref[torch.Tensor]] = []

    def last_block(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert all(hidden() is None for hidden in failed), "what the failed pass held is held yet"
        if len(inputs[0]) > 10:
            failed.append(weakref.ref(inputs[0]))
            raise RuntimeError("can't allocate memory")

    loaded.encoder.blocks[-1].register_forward_pre_hook(last_block)
    rows = [random_row(rng, 6, 1) for _ in range(4)]
    outcomes = outcomes_of(loaded, rows)
    assert len(failed) == 3
    assert [outcome.shape for outcome in outcomes] == [(1, 256)] * 4


def outcomes_of(loaded: Embedder, rows: list[Row]) -> list[np.ndarray | str]:
    """What becomes of a batch in a worker of this process."""
    started = messages.Started("", "", "", 0, BATCH_TOKENS, 0.0, 0)
    with socket.socket() as unused:
        return Worker(loaded, unused, started)._outcomes(rows, loaded.pack(rows))


def test_a_row_without_finite_numbers_fails_alone(rng: np.random.Generator) -> None:
    loaded = embedder.load(MINI, "cpu")
    loaded.encoder.embedding.word[7] = torch.nan
    good, bad = random_row(rng, 9, 1), random_row(rng, 12, 1)
    good.token_ids[good.token_ids == 7] = 8
    bad.token_ids[5] = 7
    first, second, third = outcomes_of(loaded, [good, bad, good])
    assert np.isfinite(first).all()
    assert second == "the model's numbers for a text of 12 tokens are not finite."
    np.testing.assert_array_equal(first, third)


def test_an_http_process_that_is_gone_before_it_is_let_in_does_no_harm(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    wire = Wire(tmp_path / "worker")
    for _ in range(300):
        with socket.socket(socket.AF_UNIX) as passer_by:
            passer_by.connect(str(tmp_path / "worker"))
    wire.embed(1, [random_row(rng, 9, 3)])
    assert isinstance(wire.hear_until(messages.Answer, 1)[-1], messages.Answer)
    wire.finish()
    wire.socket.close()


def test_it_goes_when_the_http_process_is_gone_and_computes_nothing_for_nobody(
    wire: Wire, rng: np.random.Generator
) -> None:
    wire.embed(1, bulk(rng, rows=40_000, length=64))  # minutes of work
    wire.hear_until(messages.BatchDone)
    wire.socket.close()
    assert wire.process.wait(30) == 0


@pytest.mark.parametrize(
    ("folder", "device", "sentence"),
    [(MINI.parent, "cpu", "has no config.json"), (MINI, "cuda:99", "cuda:99 (is not|cannot be)")],
)
def test_a_model_or_a_device_that_cannot_be_used_is_said(
    folder: Path, device: str, sentence: str
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        arguments = [sys.executable, "-m", "app.engine.worker", str(theirs.fileno())]
        process = subprocess.Popen(arguments, pass_fds=[theirs.fileno()])
        ours.sendall(messages.frame(messages.Start(str(folder), device, "auto", None)))
        head = messages._receive(ours, 4)
        assert head is not None
        word = messages._from_worker.decode(messages._receive(ours, int.from_bytes(head, "little")))
        assert isinstance(word, messages.StartFailed)
        assert re.search(sentence, word.reason)
        assert process.wait(60) == 0
