"""Board: a worker's jobs, the order of their rows and the prepared batch, behind one lock.

It keeps promises 1, 2, 4, 14 and 15 of README.md. `plan` and `offer` are for the thread that
prepares, `take` for the one that computes, `finish` for the one that replies, `add`, `cancel`,
`drop_link` and `end` for those that receive.

A prepared batch stays open until it is full or the device takes it: rows that arrive meanwhile are
planned in. But packing holds the interpreter's lock, which the thread that computes needs, too:
after a pack that took p seconds of computing, the next one for the same turn of the device begins
4 p later at the earliest. A device that waits is never kept waiting by that.

An interactive job that arrives drives flex rows out of a batch that is ready: the batch is dropped,
so that the device does not take it without that job's rows. If the device is free before the next
one is packed, it takes what is planned then.

A small batch may wait for callers who were just answered (gathering.py); meanwhile nothing is
prepared, and it is packed when it goes.
"""

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Generic

from app.engine.gathering import SMALL_TOKENS, Gathering
from app.engine.jobs import FinishedJob, Job
from app.engine.lane import FLEX_SHARE, JobId
from app.engine.next_batch import NextBatch, Packed, PreparedBatch, Running
from app.engine.row_scheduler import BatchPlan, RowScheduler
from model.rows import Row, Vectors

# At most one part in five of the preparing thread's time goes into renewing an open batch.
_REST_PER_PACK = 4


class Board(Generic[Packed]):
    """The jobs of one worker and its prepared batch; every method may be called on any thread."""

    def __init__(
        self,
        max_batch_tokens: int,
        flex_share: float = FLEX_SHARE,
        gathering: Gathering | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._may_plan = threading.Condition(self._lock)
        self._may_take = threading.Condition(self._lock)
        self._scheduler = RowScheduler(max_batch_tokens, flex_share)
        self._jobs: dict[JobId, Job] = {}
        self._packing: NextBatch | None = None
        self._outdated = False  # what is being packed leaves no room for a job that came since
        self._prepared: PreparedBatch[Packed | None] | None = None
        self._unplanned = False  # what waits has changed since the last plan
        self._not_before = 0.0
        self._device_waits = False
        self._gathering = gathering or Gathering()
        self._gathers = False  # the device waits for callers who were just answered
        self._ended = False

    def add(self, jobs: Iterable[tuple[JobId, list[Row]]], *, flex: bool = False) -> None:
        """Jobs arrive in one lane."""
        made = [(job, Job(rows, flex=flex)) for job, rows in jobs]
        with self._lock:
            told = self._unplanned and bool(self._scheduler) and not self._device_waits
            for job, entry in made:
                self._jobs[job] = entry
                self._scheduler.add(job, [len(row.token_ids) for row in entry.rows], flex=flex)
            self._unplanned = True
            if not flex:
                self._gathering.arrived(len(made))
                self._drive_out_flex()
            if not told:
                (self._may_take if self._device_waits else self._may_plan).notify()

    def cancel(self, jobs: Collection[JobId]) -> None:
        """The callers have gone: none of the jobs' rows is run from here on."""
        with self._lock:
            self._forget(jobs)

    def end(self) -> None:
        """No more jobs will come; those that are here are finished."""
        with self._lock:
            self._ended = True
            self._notify()

    def drop_link(self, link: int) -> None:
        """The HTTP process at that link has exited: drop its jobs."""
        with self._lock:
            self._forget({job for job in self._jobs if job[0] == link})

    def plan(self) -> NextBatch | None:
        """Wait until a batch is to be packed; None when none will be."""
        with self._lock:
            while not self._finished():
                if not self._to_plan():
                    self._may_plan.wait()
                elif (pause := self._not_before - time.monotonic()) > 0:
                    self._may_plan.wait(pause)
                else:
                    self._packing, self._outdated = self._planned(), False
                    return self._packing
            return None

    def offer(self, prepared: PreparedBatch[Packed | None]) -> None:
        """The tensors of a plan are ready. If the plan no longer holds, they are dropped."""
        with self._lock:
            if prepared.next is self._packing:
                self._packing = None
                self._prepared = None if self._outdated else prepared
                self._not_before = time.monotonic() + _REST_PER_PACK * prepared.seconds
                self._may_take.notify()

    def take(self, running: Sequence[Running] = ()) -> PreparedBatch[Packed | None] | None:
        """Wait for a batch that is to be launched beside those that run, and remove its rows.

        It is not packed yet if nothing runs and none is prepared: nobody need be woken for that.
        None when the first one that runs is done and no batch is prepared, or when nothing runs and
        no batch will come. A batch is launched before the running one is done only if it is full:
        rows that arrive could not join it.
        """
        with self._lock:
            waited = False
            while (wait_s := self._to_gather(running)) or (
                batch := self._to_launch(running)
            ) is None:
                if running[0].done() if running else self._finished():
                    return None
                waited = waited or wait_s > 0
                self._device_waits, self._gathers = not running, wait_s > 0
                self._may_take.wait(wait_s or None)
                self._device_waits = self._gathers = False
            now = time.monotonic()
            self._gathering.launched(now, waited=waited)
            self._scheduler.take(batch.next.plan)
            for job, first, _ in batch.next.plan.shares:
                if first == 0:
                    self._jobs[job].begin(now)
            self._packing = self._prepared = None  # what is being packed has these rows, too
            self._unplanned, self._not_before = True, 0.0
            if self._scheduler or self._ended:
                self._may_plan.notify()
            return batch

    def wake(self) -> None:
        """A batch that runs is done."""
        with self._lock:
            self._may_take.notify()

    @property
    def waits(self) -> bool:
        """Whether rows wait that no batch has."""
        return bool(self._scheduler)

    def finish(
        self, batch: NextBatch, vectors: Vectors, failed: dict[int, str], gather_s: float = 0.0
    ) -> list[FinishedJob]:
        """Enter a batch's vectors, and why rows of it fail; the jobs that are finished now.

        If `gather_s`, the seconds that the batch took, is given, the next one may wait for the
        callers of these jobs (gathering.py)."""
        finished: list[FinishedJob] = []
        row = span = interactive = 0
        with self._lock:
            for (job, first, stop), spans in zip(batch.plan.shares, batch.share_spans, strict=True):
                rows = range(row, row + stop - first)
                part = vectors[span : span + spans]
                row, span = rows.stop, span + spans
                entry = self._jobs.get(job)
                if entry is None:
                    continue  # cancelled, or failed by another row of it
                outcome: Vectors | str | None
                if failed and (place := next(filter(failed.get, rows), None)) is not None:
                    outcome = failed[place]
                    self._forget([job])
                else:
                    outcome = entry.fill(first, stop, part)
                if outcome is not None:
                    interactive += not entry.flex
                    self._jobs.pop(job, None)
                    finished.append(FinishedJob(job, outcome, entry.queued_s))
            self._gathering.answered(interactive, gather_s, time.monotonic())
        return finished

    def _planned(self) -> NextBatch:
        plan, rows, spans = self._scheduler.plan(), [], []
        for job, first, stop in plan.shares:
            entry = self._jobs[job]
            rows += entry.rows[first:stop]
            spans.append(entry.spans(first, stop))
        self._unplanned = False
        return NextBatch(plan, rows, spans)

    def _to_plan(self) -> bool:
        """Whether what waits would change the prepared batch."""
        full = self._prepared is not None and self._prepared.next.plan.full
        return self._unplanned and not full and bool(self._scheduler) and not self._gathers

    def _to_gather(self, running: Sequence[Running]) -> float:
        """For how many seconds a device that waits should wait for callers who come back. What is
        prepared is packed again with their rows."""
        if running or self._ended or not self._scheduler:
            return 0.0
        if wait_s := self._gathering.wait_s(time.monotonic()):
            plan = self._scheduler.plan()
            if plan.full or plan.tokens >= SMALL_TOKENS:
                return 0.0
            self._packing = self._prepared = None
        return wait_s

    def _to_launch(self, running: Sequence[Running]) -> PreparedBatch[Packed | None] | None:
        """The batch that is to be launched now."""
        prepared = self._prepared
        if not running and prepared is None and self._packing is None and self._scheduler:
            return PreparedBatch(self._planned(), None, 0)
        if prepared is None or len(running) > 1:
            return None
        return prepared if not running or running[0].done() or prepared.next.plan.full else None

    def _drive_out_flex(self) -> None:
        """An interactive job has arrived: no batch that it could be in goes without it for the sake
        of flex rows."""
        if self._prepared is not None and _open_with_flex(self._prepared.next.plan):
            self._prepared = None
        if self._packing is not None and _open_with_flex(self._packing.plan):
            self._outdated = True

    def _forget(self, jobs: Collection[JobId]) -> None:
        for job in jobs:
            self._jobs.pop(job, None)
            self._scheduler.cancel(job)
        if self._prepared is not None and self._prepared.next.plan.has_any(jobs):
            self._prepared, self._unplanned = None, True
        if self._packing is not None and self._packing.plan.has_any(jobs):
            self._packing, self._unplanned = None, True
        self._notify()

    def _finished(self) -> bool:
        return self._ended and not self._scheduler

    def _notify(self) -> None:
        self._may_plan.notify()
        self._may_take.notify()


def _open_with_flex(plan: BatchPlan) -> bool:
    return plan.flex_tokens > 0 and not plan.full
