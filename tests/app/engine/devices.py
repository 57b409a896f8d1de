"""Embedders for a worker under test: one that computes when told, and a real asynchronous one."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from model.embedder import Embedder
from model.launched_batch import LaunchedBatch
from model.packing import PackedBatch
from model.rows import Row, Vectors

WIDTH = 4


class Pack(NamedTuple):
    """So many rows were packed, from when to when, in so many seconds of the thread's time."""

    rows: int
    began: float
    ended: float
    seconds: float


class ControlledDevice:
    """A device that runs when told, and answers each row with its token count."""

    class config:  # noqa: N801  (the embedder's attribute)
        hidden_size = WIDTH

    def __init__(self, *, asynchronous: bool = False) -> None:
        self.asynchronous = asynchronous
        self.launched = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.packed = threading.Semaphore(0)
        self.events: list[str] = []
        self.sizes: list[int] = []
        self.packs: list[Pack] = []

    def pack(self, rows: list[Row]) -> list[Row]:
        began, computed = time.perf_counter(), time.thread_time()
        np.concatenate([row.token_ids for row in rows])
        seconds = time.thread_time() - computed
        self.packs.append(Pack(len(rows), began, time.perf_counter(), seconds))
        self.packed.release()
        return rows

    def launch(self, rows: list[Row]) -> "ControlledDevice.Launched":
        self.sizes.append(len(rows))
        self.events.append(f"launch {len(self.sizes)}")
        self.launched.release()
        launched = ControlledDevice.Launched(self, len(self.sizes), rows)
        if not self.asynchronous:
            launched.wait()
        return launched

    class Launched:
        all_finite = False

        def __init__(self, device: "ControlledDevice", number: int, rows: list[Row]) -> None:
            self._device, self._number, self._rows = device, number, rows

        def wait(self) -> None:
            assert self._device.may_end.acquire(timeout=30)
            self._device.events.append(f"end {self._number}")

        def read(self) -> Vectors:
            if self._device.asynchronous:
                self.wait()
            counts = [[len(row)] * WIDTH for row in self._rows]
            return np.array(counts, np.float32)


class AsynchronousEmbedder(Embedder):
    """Computes on a thread of its own, one batch after the other, as a GPU does.

    `before` is called there with each batch's number of tokens, and may wait or fail; so is
    `at_launch`, by the one who launches.
    """

    asynchronous = True

    def __init__(self, embedder: Embedder, before: Callable[[int], None] = lambda _: None) -> None:
        super().__init__(embedder.encoder, embedder.tokenizer, embedder.device, embedder.precision)
        self._before = before
        self.at_launch: Callable[[int], None] = lambda _: None
        self._stream = ThreadPoolExecutor(1)

    def launch(self, batch: PackedBatch) -> "AsynchronousEmbedder.Launched":
        self.at_launch(len(batch.token_ids))
        return AsynchronousEmbedder.Launched(self._stream.submit(self._pass, batch))

    def _pass(self, batch: PackedBatch) -> torch.Tensor:
        self._before(len(batch.token_ids))
        return self.forward(batch)

    class Launched(LaunchedBatch):
        def __init__(self, vectors: Future[torch.Tensor]) -> None:
            self._futures = [vectors]

        def read(self) -> Vectors:
            # Not named: a frame that an error passes through would hold the error by it.
            return self._futures.pop().result().cpu().numpy()


def row(length: int) -> Row:
    """A row of that many tokens."""
    return Row.single_span(np.zeros(length, np.int32), None)
