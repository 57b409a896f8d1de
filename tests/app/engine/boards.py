"""Boards of rows of so many tokens, and what tests ask of their batches."""

import numpy as np

from app.engine.board import Board
from app.engine.next_batch import PreparedBatch, Running
from tests.app.engine.devices import WIDTH

FOREVER_S = 1e9
ONE, TWO, THREE = (0, 1), (0, 2), (1, 1)
Jobs = list[tuple[int, int]]


Prepared = PreparedBatch[str] | PreparedBatch[str | None]


def offered(board: Board[str], seconds: float = 0) -> PreparedBatch[str]:
    """Plan and prepare the next batch; packing takes so many seconds."""
    batch = board.plan()
    assert batch is not None
    prepared = PreparedBatch(batch, "tensors", seconds)
    board.offer(prepared)
    return prepared


def taken(board: Board[str], *running: Running) -> PreparedBatch[str | None]:
    batch = board.take(running)
    assert batch is not None
    return batch


def jobs(batch: Prepared) -> Jobs:
    return [share.job for share in batch.next.plan.shares]


def vectors(*values: float) -> np.ndarray:
    return np.array([[value] * WIDTH for value in values], np.float32)
