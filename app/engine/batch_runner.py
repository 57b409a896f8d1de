"""BatchRunner: a worker's batches on its device, from the launch to the vectors.

It keeps promise 7 of README.md. All of it is called on one thread, the one that computes, as CUDA
wants it. On a device that computes asynchronously a thread of its own waits for vectors, so that
the one that computes can launch a full batch meanwhile.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from app.engine.next_batch import NextBatch, PreparedBatch
from model.rows import Row, Vectors

if TYPE_CHECKING:
    from model.embedder import Embedder
    from model.launched_batch import LaunchedBatch
    from model.packing import PackedBatch

log = logging.getLogger("quintet.worker")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ComputedBatch:
    """A batch's vectors (S, D), finite or not; whether all are known to be finite; why some of its
    rows have none, by their places in the batch; and the seconds that the device took."""

    batch: NextBatch
    vectors: Vectors
    all_finite: bool
    failed: dict[int, str]
    seconds: float


@dataclass(slots=True, eq=False)
class RunningBatch:
    """A batch that is launched, or whose launch has failed; when; and what became of it."""

    batch: NextBatch
    launched: "LaunchedBatch | None"
    began: float
    ended: float | None = None
    vectors: Vectors | None = None
    all_finite: bool = False

    def done(self) -> bool:
        """Whether its vectors are there, or it has failed."""
        return self.ended is not None

    @property
    def failed(self) -> bool:
        """Whether it is done and has no vectors."""
        return self.done() and self.vectors is None


class BatchRunner:
    """Launches batches on a device and takes the vectors of those that are done, or tries again."""

    def __init__(self, embedder: "Embedder", on_done: Callable[[], None]) -> None:
        """`on_done` is called on another thread when a batch is done after its launch."""
        self.running: deque[RunningBatch] = deque()
        """The batches that are launched and that `done` has not given yet, the oldest first."""
        self._embedder = embedder
        self._on_done = on_done
        self._unread: queue.SimpleQueue[RunningBatch] = queue.SimpleQueue()
        self._device_free = 0.0  # since then it has run no batch that `done` has given
        if embedder.asynchronous:
            threading.Thread(target=self.read, name="read", daemon=True).start()

    def launch(self, prepared: "PreparedBatch[PackedBatch | None]", *, alone: bool) -> None:
        """Give a batch to the device. If it is `alone`, no other one waits: if none runs either,
        this waits for its vectors."""
        began, rows = time.perf_counter(), prepared.next.rows
        launched = self._attempt(rows, lambda: self._launch(rows, prepared.packed))
        running = RunningBatch(prepared.next, launched, began)
        beside = bool(self.running) or not alone
        self.running.append(running)
        if launched is not None and self._embedder.asynchronous and beside:
            self._unread.put(running)
        else:
            self._read(running)

    def read(self) -> None:
        """Wait for the vectors of one batch after the other."""
        while True:
            self._read(self._unread.get())
            self._on_done()

    def done(self) -> Iterator[ComputedBatch]:
        """Take the batches that are done, the oldest first. One that has failed comes last, and is
        tried again when the device has nothing else to do."""
        while self.running and self.running[0].done():
            first = self.running.popleft()
            if first.failed and not all(other.failed for other in self.running):
                self.running.append(first)
            else:
                yield self._computed(first)

    def _computed(self, running: RunningBatch) -> ComputedBatch:
        batch, vectors, ended = running.batch, running.vectors, running.ended
        failed: dict[int, str] = {}
        if vectors is None:
            vectors, failed = self._in_halves(batch.rows)
            ended = time.perf_counter()
        assert ended is not None, "it is done"
        began = max(running.began, self._device_free)  # before that another one was computed
        self._device_free = ended
        return ComputedBatch(batch, vectors, running.all_finite, failed, ended - began)

    def _launch(self, rows: Sequence[Row], packed: "PackedBatch | None") -> "LaunchedBatch":
        return self._embedder.launch(packed or self._embedder.pack(rows))

    def _read(self, running: RunningBatch) -> None:
        if (launched := running.launched) is not None:
            running.launched = None  # nor is its memory held on
            running.vectors = self._attempt(running.batch.rows, launched.read)
            running.all_finite = launched.all_finite
        running.ended = time.perf_counter()

    def _attempt(self, rows: Sequence[Row], attempt: "Callable[[], Result]") -> "Result | None":
        """The result, or None for an error after which the device works; the error is logged and
        not kept: it holds the tensors of the pass that failed."""
        try:
            return attempt()
        except Exception as error:
            if not self._embedder.usable_after(error):
                raise
            if len(rows) == 1:
                log.exception("a row of %d tokens fails alone", len(rows[0]))
            else:
                why = str(error)  # and not the error, which a log may keep
                log.warning("a batch of %d rows fails (%s); trying its halves", len(rows), why)
            return None

    def _in_halves(self, rows: Sequence[Row]) -> tuple[Vectors, dict[int, str]]:
        """The vectors of rows that fail together, zeros for those that fail alone, and why."""
        self._embedder.free_memory()
        if len(rows) == 1:
            width = self._embedder.config.hidden_size
            why = f"the model failed on a text of {len(rows[0])} tokens."
            return np.zeros((len(rows[0].spans), width), np.float32), {0: why}
        middle = len(rows) // 2
        first, failed = self._outcome(rows[:middle])
        second, more = self._outcome(rows[middle:])
        failed |= {middle + place: why for place, why in more.items()}
        return np.concatenate([first, second]), failed

    def _outcome(self, rows: Sequence[Row]) -> tuple[Vectors, dict[int, str]]:
        vectors = self._attempt(rows, lambda: self._launch(rows, None).read())
        return self._in_halves(rows) if vectors is None else (vectors, {})


def not_finite(batch: NextBatch, vectors: Vectors) -> dict[int, str]:
    """Why rows of a batch have no vectors, by their places: a broken weight, or float16 that
    overflows."""
    finite = np.isfinite(vectors)
    if finite.all():
        return {}
    ends = np.cumsum([len(row.spans) for row in batch.rows])
    spans = np.flatnonzero(~finite.all(axis=1))
    failed = {}
    for place in np.unique(np.searchsorted(ends, spans, side="right")).tolist():
        tokens = len(batch.rows[place])
        log.error("a row of %d tokens has numbers that are not finite", tokens)
        failed[place] = f"the model's numbers for a text of {tokens} tokens are not finite."
    return failed
