"""A worker's batches on its device: which is launched when, and what becomes of those that fail."""

import queue
import threading
import weakref
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch

from app.engine import messages
from app.engine.batch_runner import BatchRunner, ComputedBatch, not_finite
from app.engine.next_batch import NextBatch, PreparedBatch
from app.engine.row_scheduler import BatchPlan
from model import embedder
from model.embedder import Embedder
from model.rows import Row
from tests.app.engine.devices import WIDTH, AsynchronousEmbedder, ControlledDevice, row
from tests.checkpoints import MINI
from tests.conftest import random_row
from tests.workers import WorkerThreads

BATCH_TOKENS = 100


@pytest.fixture(scope="module")
def mini() -> Embedder:
    return embedder.load(MINI, "cpu", "float32")


def results(received: list[messages.FromWorker], width: int) -> dict[int, np.ndarray]:
    return {
        message.job: messages.vectors_of(message, width)
        for message in received
        if isinstance(message, messages.JobResult)
    }


def under_control(
    *, asynchronous: bool = True, tokens: int = BATCH_TOKENS
) -> tuple[ControlledDevice, WorkerThreads]:
    device = ControlledDevice(asynchronous=asynchronous)
    return device, WorkerThreads(device, tokens)  # type: ignore[arg-type]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("company", [1, 5])
def test_the_next_batch_is_ready_before_the_running_one_ends_and_has_all_that_gathered(
    company: int, *, asynchronous: bool
) -> None:
    device, worker = under_control(asynchronous=asynchronous)
    link = worker.link()
    link.embed(0, [row(7)])
    assert device.launched.acquire(timeout=30)
    assert device.packed.acquire(timeout=30)
    for number in range(1, company + 1):
        link.embed(number, [row(number)])
        # Packed while the first batch runs: it cannot end before it may.
        assert device.packed.acquire(timeout=30)
    assert device.sizes == [1]
    device.may_end.release(2)
    answers = results(link.receive_results(1 + company), WIDTH)
    worker.close()
    assert device.sizes == [1, company]
    assert {job: vectors[0, 0] for job, vectors in answers.items()} == {
        0: 7.0,
        **{number: float(number) for number in range(1, company + 1)},
    }


def test_packing_an_open_batch_again_takes_at_most_a_fifth_of_the_time() -> None:
    device, worker = under_control(tokens=10**6)
    link = worker.link()
    link.embed(0, [row(7)])
    assert device.launched.acquire(timeout=30)
    for number in range(1, 1001):
        link.embed(number, [row(100)] * 4)
    while device.packs[-1].rows < 4000:
        assert device.packed.acquire(timeout=30)
    packs = device.packs[1:]
    device.may_end.release(1001)
    link.receive_results(1001)
    worker.close()
    for pack, renewal in pairwise(packs):
        assert renewal.began - pack.ended >= 4 * pack.seconds


def test_a_full_batch_is_launched_before_the_running_one_is_read_and_no_third_one() -> None:
    device, worker = under_control()
    link = worker.link()
    link.embed(0, [row(BATCH_TOKENS)] * 4)
    for _ in range(2):
        assert device.launched.acquire(timeout=30)
    device.may_end.release(4)
    link.receive_results(1)
    worker.close()
    at = device.events.index
    assert at("launch 2") < at("end 1") < at("launch 3")
    assert at("end 2") < at("launch 4")


def test_a_synchronous_device_has_one_batch_at_a_time() -> None:
    device, worker = under_control(asynchronous=False)
    link = worker.link()
    device.may_end.release(4)
    for number in range(4):
        link.embed(number, [row(BATCH_TOKENS)])
    link.receive_results(4)
    worker.close()
    assert device.events == [f"{what} {at}" for at in (1, 2, 3, 4) for what in ("launch", "end")]


def test_an_open_batch_waits_for_the_running_one_and_is_launched_before_that_is_answered() -> None:
    device, worker = under_control()
    link = worker.link()
    for number in range(2):
        link.embed(number, [row(10)])
        assert device.packed.acquire(timeout=30)
        if number == 0:
            assert device.launched.acquire(timeout=30)
    device.may_end.release()
    link.receive_until(messages.JobResult, 0)
    assert device.events == ["launch 1", "end 1", "launch 2"]
    device.may_end.release()
    link.receive_until(messages.JobResult, 1)
    worker.close()


class Failing:
    """Passes of a real encoder that fail where they are told to."""

    def __init__(self, loaded: Embedder, *tokens: int) -> None:
        """Those with so many tokens fail in the last block, as if there were no memory."""
        self.failed: list[weakref.ref[torch.Tensor]] = []
        self._tokens = tokens
        self.hook = loaded.encoder.blocks[-1].register_forward_pre_hook(self._last_block)

    def at_launch(self, tokens: int) -> None:
        if tokens in self._tokens:
            raise RuntimeError("can't allocate memory")

    def _last_block(self, _: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert all(hidden() is None for hidden in self.failed), "what a failed pass held is held"
        if len(inputs[0]) in self._tokens:
            self.failed.append(weakref.ref(inputs[0]))
            raise RuntimeError("can't allocate memory")


def prepared(loaded: Embedder, rows: list[Row]) -> PreparedBatch:
    batch = NextBatch(BatchPlan((), sum(map(len, rows)), full=True), rows, [])
    return PreparedBatch(batch, loaded.pack(rows), 0)


def computed(runner: BatchRunner, awake: threading.Semaphore, count: int) -> list[ComputedBatch]:
    """So many batches, in the order in which the runner gives them."""
    found: list[ComputedBatch] = []
    while len(found) < count:
        found += runner.done()
        if len(found) < count:
            assert awake.acquire(timeout=30)
    return found


@pytest.fixture(params=["synchronous", "asynchronous"])
def loaded(request: pytest.FixtureRequest, mini: Embedder) -> Embedder:
    return AsynchronousEmbedder(mini) if request.param == "asynchronous" else mini


@pytest.fixture
def awake() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def runner(loaded: Embedder, awake: threading.Semaphore) -> BatchRunner:
    return BatchRunner(loaded, awake.release)


@pytest.fixture
def failing(mini: Embedder) -> Iterator[Failing]:
    """24, 20 and 12 tokens are too many: 4 rows of 6 tokens, 2 of them, or one of 12 and others."""
    failing = Failing(mini, 24, 20, 12)
    yield failing
    failing.hook.remove()


def test_halves_run_when_the_memory_of_the_pass_that_failed_is_free_again(
    runner: BatchRunner,
    loaded: Embedder,
    awake: threading.Semaphore,
    failing: Failing,
    rng: np.random.Generator,
) -> None:
    rows = [random_row(rng, 6, 1) for _ in range(4)]
    runner.launch(prepared(loaded, rows), alone=False)
    (batch,) = computed(runner, awake, 1)
    failing.hook.remove()
    assert len(failing.failed) == 3
    assert batch.failed == {}
    np.testing.assert_allclose(batch.vectors, loaded.embed(rows, 6), atol=1e-5)


@pytest.mark.parametrize("at_launch", [True, False])
@pytest.mark.parametrize("fails", [0, 1])
def test_a_batch_that_fails_does_not_hurt_the_one_that_runs_beside_it(
    mini: Embedder,
    awake: threading.Semaphore,
    failing: Failing,
    rng: np.random.Generator,
    fails: int,
    *,
    at_launch: bool,
) -> None:
    may_run = threading.Semaphore(0)
    loaded = AsynchronousEmbedder(mini, lambda _: may_run.acquire(timeout=30))
    if at_launch:
        loaded.at_launch = failing.at_launch
    runner = BatchRunner(loaded, awake.release)
    batches = [[random_row(rng, 8, 1) for _ in range(2)] for _ in range(2)]
    batches[fails] = [random_row(rng, length, 1) for length in (6, 6, 12)]
    for rows in batches:
        runner.launch(prepared(loaded, rows), alone=False)
    may_run.release(100)
    other, failed = computed(runner, awake, 2)
    failing.hook.remove()
    assert (other.batch.rows, failed.batch.rows) == (batches[1 - fails], batches[fails])
    assert other.failed == {}
    assert failed.failed == {2: "the model failed on a text of 12 tokens."}
    np.testing.assert_allclose(other.vectors, mini.embed(batches[1 - fails]), atol=1e-5)
    for place in (0, 1):
        expected = mini.embed([batches[fails][place]])[0]
        np.testing.assert_allclose(failed.vectors[place], expected, atol=1e-5)


def test_an_error_after_which_the_device_is_unusable_ends_the_thread_and_so_the_worker(
    mini: Embedder, failing: Failing, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """See app.engine.worker.end_process."""
    ended: queue.SimpleQueue[threading.ExceptHookArgs] = queue.SimpleQueue()
    monkeypatch.setattr(threading, "excepthook", ended.put)
    loaded = AsynchronousEmbedder(mini)
    monkeypatch.setattr(loaded, "usable_after", lambda _: False)
    runner = BatchRunner(loaded, lambda: None)
    batch = prepared(loaded, [random_row(rng, 24, 1)])
    runner.launch(batch, alone=False)
    failure = ended.get(timeout=30)
    assert str(failure.exc_value) == "can't allocate memory"
    assert not runner.running[0].done()
    loaded.at_launch = failing.at_launch
    with pytest.raises(RuntimeError, match="memory"):
        runner.launch(batch, alone=False)


def test_two_batches_that_fail_beside_each_other_are_both_tried_again(
    mini: Embedder, awake: threading.Semaphore, failing: Failing, rng: np.random.Generator
) -> None:
    loaded = AsynchronousEmbedder(mini)
    runner = BatchRunner(loaded, awake.release)
    batches = [[random_row(rng, 6, 1) for _ in range(4)] for _ in range(2)]
    for rows in batches:
        runner.launch(prepared(loaded, rows), alone=False)
    both = computed(runner, awake, 2)
    failing.hook.remove()
    for batch in both:
        assert batch.failed == {}
        expected = mini.embed(batch.batch.rows, 6)
        np.testing.assert_allclose(batch.vectors, expected, atol=1e-5)


def test_a_batch_takes_the_time_since_the_one_before_it(
    mini: Embedder, awake: threading.Semaphore, rng: np.random.Generator
) -> None:
    """The seconds of batches that wait for each other do not overlap."""
    loaded = AsynchronousEmbedder(mini)
    runner = BatchRunner(loaded, awake.release)
    for _ in range(2):
        runner.launch(prepared(loaded, [random_row(rng, 2048, 1)]), alone=False)
    began = runner.running[0].began
    last = runner.running[1]
    batches = computed(runner, awake, 2)
    assert last.ended is not None
    assert sum(batch.seconds for batch in batches) == pytest.approx(last.ended - began)


def test_a_row_without_finite_numbers_fails_alone(
    runner: BatchRunner, loaded: Embedder, awake: threading.Semaphore, rng: np.random.Generator
) -> None:
    good, bad = random_row(rng, 9, 1, spans=3), random_row(rng, 12, 1, spans=2)
    good.token_ids[good.token_ids == 7] = 8
    bad.token_ids[5] = 7
    word = loaded.encoder.embedding.word
    before = word[7].clone()
    word[7] = torch.nan
    bad = Row(bad.token_ids, 1, np.array([[0, 12], [5, 6]], np.int32))
    runner.launch(prepared(loaded, [good, bad, good]), alone=True)
    (batch,) = computed(runner, awake, 1)
    word[7] = before
    why = "the model's numbers for a text of 12 tokens are not finite."
    assert not_finite(batch.batch, batch.vectors) == {1: why}
    np.testing.assert_array_equal(batch.vectors[:3], batch.vectors[5:])
    assert np.isfinite(batch.vectors[:3]).all()
