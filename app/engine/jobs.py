"""Job: a request's rows in a worker, and their vectors as batches bring them."""

import time
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from app.engine.lane import JobId
from model.rows import Row, Vectors


class Job:
    """A job's rows, and how many of them are still to be computed."""

    __slots__ = ("_arrived", "_missing", "_spans_before", "_vectors", "flex", "queued_s", "rows")

    def __init__(self, rows: list[Row], *, flex: bool = False) -> None:
        self.rows = rows
        self.flex = flex
        self.queued_s = 0.0
        """Until its first row was taken, in seconds."""
        self._arrived = time.monotonic()
        self._missing = len(rows)
        self._spans_before = list(accumulate([len(row.spans) for row in rows], initial=0))
        self._vectors: Vectors | None = None  # of all rows, if several batches compute them

    def begin(self, now: float) -> None:
        """Its first row is taken."""
        self.queued_s = now - self._arrived

    def spans(self, first: int, stop: int) -> int:
        """How many spans rows `first` up to `stop` have."""
        return self._spans_before[stop] - self._spans_before[first]

    def fill(self, first: int, stop: int, vectors: Vectors) -> Vectors | None:
        """Enter the vectors of rows `first` up to `stop`; all of the job's once none is missing.

        Those of a whole job are not copied.
        """
        self._missing -= stop - first
        if self._vectors is None:
            if not self._missing:
                return vectors
            self._vectors = np.empty((self._spans_before[-1], vectors.shape[1]), np.float32)
        self._vectors[self._spans_before[first] : self._spans_before[stop]] = vectors
        return None if self._missing else self._vectors


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """A job that is finished: its vectors, or why it fails."""

    job: JobId
    outcome: Vectors | str
    queued_s: float
