"""Board: a worker's jobs, the order of their rows and the prepared batch, behind one lock.

It keeps promises 1, 2 and 4 of README.md. A prepared batch stays open: rows that arrive while
another one runs are planned in until it is full or the device takes it. `plan` and `offer` are for
the thread that prepares, `take` for the one that computes, `finish_rows` for the one that replies,
`add`, `cancel`, `drop_link` and `end` for those that receive.
"""

import threading
import time
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from app.engine.row_scheduler import BatchPlan, JobId, RowScheduler
from model.rows import Row, Vectors

Packed = TypeVar("Packed")


@dataclass(slots=True)
class Job:
    """A job's rows, and its vectors as they come in; `missing` counts the rows still to come."""

    rows: list[Row]
    vectors: Vectors
    missing: int
    first_span: list[int] = field(default_factory=list)
    arrived: float = field(default_factory=time.monotonic)
    queued_s: float | None = None  # until its first row was taken

    @classmethod
    def of(cls, rows: list[Row], width: int) -> "Job":
        counts = [len(row.spans) for row in rows]
        starts = (np.cumsum(counts) - counts).tolist()
        return cls(rows, np.empty((sum(counts), width), np.float32), len(rows), starts)

    def begin(self) -> None:
        """A row of it is taken."""
        if self.queued_s is None:
            self.queued_s = time.monotonic() - self.arrived

    def fill(self, row: int, vectors: Vectors) -> None:
        """Put a row's vectors in their place."""
        start = self.first_span[row]
        self.vectors[start : start + len(vectors)] = vectors
        self.missing -= 1


@dataclass(frozen=True, slots=True)
class NextBatch:
    """A plan with its rows. `epoch` tells whether it still holds when its tensors are ready."""

    plan: BatchPlan
    rows: list[Row]
    epoch: int


@dataclass(frozen=True, slots=True)
class PreparedBatch(Generic[Packed]):
    """A batch whose tensors are ready."""

    next: NextBatch
    packed: Packed


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """A job that is finished: its vectors, or why it fails."""

    job: JobId
    outcome: Vectors | str
    queued_s: float


class Board(Generic[Packed]):
    """The jobs of one worker and its prepared batch; every method may be called on any thread."""

    def __init__(self, width: int, max_batch_tokens: int) -> None:
        self._width = width
        self._changed = threading.Condition()
        self._scheduler = RowScheduler(max_batch_tokens)
        self._jobs: dict[JobId, Job] = {}
        self._prepared: PreparedBatch[Packed] | None = None
        self._unplanned = False  # what waits has changed since the last plan
        self._epoch = 0  # counts what makes a plan invalid: rows taken, jobs gone
        self._ended = False

    def add(self, job: JobId, rows: list[Row]) -> None:
        """A job arrives. A prepared batch that is full stays as it is: it could not grow."""
        with self._changed:
            self._jobs[job] = Job.of(rows, self._width)
            self._scheduler.add(job, [len(row) for row in rows])
            if self._prepared is None or not self._prepared.next.plan.full:
                self._unplanned = True
                self._changed.notify_all()

    def cancel(self, job: JobId) -> None:
        """The caller has gone: none of the job's rows is run from here on."""
        with self._changed:
            self._forget(job)

    def end(self) -> None:
        """No more jobs will come; those that are here are finished."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def drop_link(self, link: int) -> None:
        """The HTTP process at that link has exited: drop its jobs."""
        with self._changed:
            for job in [job for job in self._jobs if job[0] == link]:
                self._forget(job)

    def plan(self) -> NextBatch | None:
        """Wait until rows wait that are not planned; None when there never will be any."""
        with self._changed:
            self._changed.wait_for(
                lambda: (self._unplanned and self._scheduler) or self._finished()
            )
            if self._finished():
                return None
            self._unplanned = False
            plan = self._scheduler.plan()
            return NextBatch(
                plan, [self._jobs[job].rows[row] for job, row in plan.picks], self._epoch
            )

    def offer(self, prepared: PreparedBatch[Packed]) -> None:
        """The tensors of a plan are ready. If the plan no longer holds, they are dropped."""
        with self._changed:
            if prepared.next.epoch == self._epoch:
                self._prepared = prepared
                self._changed.notify_all()

    def take(self) -> PreparedBatch[Packed] | None:
        """Wait for a prepared batch and remove its rows; None when none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._prepared is not None or self._finished())
            prepared = self._prepared
            if prepared is not None:
                self._scheduler.take(prepared.next.plan)
                for job, _ in prepared.next.plan.picks:
                    self._jobs[job].begin()
                self._invalidate()
            return prepared

    def finish_rows(self, plan: BatchPlan, outcomes: list[Vectors | str]) -> list[FinishedJob]:
        """Enter the vectors of each pick, or why its row fails; the jobs that are finished now."""
        finished: list[FinishedJob] = []
        with self._changed:
            for (job, row), outcome in zip(plan.picks, outcomes, strict=True):
                entry = self._jobs.get(job)
                if entry is None:
                    continue  # cancelled, or failed by another row of it
                assert entry.queued_s is not None, "its row was taken"
                if isinstance(outcome, str):
                    self._forget(job)
                    finished.append(FinishedJob(job, outcome, entry.queued_s))
                    continue
                entry.fill(row, outcome)
                if not entry.missing:
                    del self._jobs[job]
                    finished.append(FinishedJob(job, entry.vectors, entry.queued_s))
        return finished

    def _forget(self, job: JobId) -> None:
        self._jobs.pop(job, None)
        self._scheduler.cancel(job)
        self._invalidate()

    def _invalidate(self) -> None:
        self._epoch += 1
        self._prepared = None
        self._unplanned = True
        self._changed.notify_all()

    def _finished(self) -> bool:
        return self._ended and not self._scheduler
