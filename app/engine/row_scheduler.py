"""RowScheduler: which rows of which lane the next batch has. A pure policy: no clock, no thread.

It keeps promises 3 and 14 of README.md. Within each lane rows go as lane.py says. Between them:

1. Interactive rows go first, and flex rows take the room that they leave.
2. While flex rows wait, they are owed a share of all tokens that are computed. As soon as they are
   owed as many as the row whose turn it is has, that row, and what else they are owed, goes before
   any other: of any stretch of batches in which they wait, flex rows have that share, but for the
   tokens of one row and a batch. What they take beyond it is not held against them later.
3. An interactive row that arrives waits for the batch that runs, and then for what is beside it in
   its own. Beside interactive rows there are therefore only so many flex tokens that this batch
   and the one before are one full batch together; and of half a batch, flex rows alone too, while
   interactive rows come, which is until BATCHES_ALONE batches had none. That is what flex costs an
   interactive row at most, besides what is owed.
4. A batch with flex rows that are not owed is open to interactive rows, which drive them out.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.engine.lane import FLEX_SHARE, JobId, Lane, LanePlan

# Small batches make a CPU 6 % slower (tests/bench/README.md): flex rows alone have full ones again.
BATCHES_ALONE = 32


class Share(NamedTuple):
    """A job's part of a batch: its rows from `first` up to `stop`."""

    job: JobId
    first: int
    stop: int


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The rows of the next batch, those of each job together; who had the last turn in its lane is
    the last of its lane.

    `full` says that an interactive job which arrives now would have no row in it.
    """

    shares: tuple[Share, ...]
    tokens: int
    full: bool
    flex_tokens: int = 0

    @property
    def rows(self) -> int:
        """How many rows that are."""
        return sum(stop - first for _, first, stop in self.shares)

    def has_any(self, jobs: Collection[JobId]) -> bool:
        """Whether a row of one of those jobs is in it."""
        return any(share.job in jobs for share in self.shares)


class RowScheduler:
    """Rows that wait, by lane and job. `plan` only looks; `take` removes what was planned."""

    def __init__(self, max_batch_tokens: int, flex_share: float = FLEX_SHARE) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._flex_share = flex_share
        self._interactive, self._flex = Lane(), Lane()
        self._owed = 0.0  # tokens, to the flex lane
        self._tokens_before = 0  # of the batch that was taken last
        self._batches_alone = BATCHES_ALONE  # that flex rows had since the last interactive one

    def __bool__(self) -> bool:
        return bool(self._interactive or self._flex)

    def add(self, job: JobId, row_tokens: Sequence[int], *, flex: bool = False) -> None:
        """A new job, whose rows have these numbers of tokens, waits."""
        assert job not in self._interactive, "a job is added once"
        assert job not in self._flex, "a job is added once"
        if flex and not self._flex:
            self._owed = 0.0
        self._lane(flex=flex).add(job, row_tokens)

    def cancel(self, job: JobId) -> None:
        """The job's waiting rows leave. A job that is gone already is fine."""
        self._interactive.cancel(job)
        self._flex.cancel(job)

    def plan(self) -> BatchPlan:
        """At most `max_batch_tokens` tokens; a row longer than that goes alone."""
        most = self._max_batch_tokens
        owed = self._flex.plan(min(int(self._owed), most), self._owed)
        first = self._interactive.plan(most - owed.tokens, 0 if owed.tokens else math.inf)
        flex = self._beside(first, owed)
        shares = [
            Share(job, lane.next_row(job), stop)
            for lane, plan in ((self._interactive, first), (self._flex, flex))
            for job, stop in plan.stops.items()
        ]
        return BatchPlan(tuple(shares), first.tokens + flex.tokens, first.full, flex.tokens)

    def _beside(self, first: LanePlan, owed: LanePlan) -> LanePlan:
        """The flex rows beside `first`: at least those that are owed."""
        most = self._max_batch_tokens
        if self._batches_alone < BATCHES_ALONE:
            most //= 2
        if not self._interactive:
            return self._flex.plan(most, math.inf)
        if not first.stops:  # what is owed leaves no room for the interactive row that is next
            return owed
        room = most - first.tokens - self._tokens_before
        return max(owed, self._flex.plan(room, 0), key=lambda plan: plan.tokens)

    def take(self, plan: BatchPlan) -> None:
        """Remove a plan's rows, of jobs that still wait."""
        for job, first, stop in plan.shares:
            self._lane(flex=job in self._flex).take(job, first, stop)
        self._owed += self._flex_share * plan.tokens - plan.flex_tokens
        self._owed = max(self._owed, 0.0) if self._flex else 0.0
        self._tokens_before = plan.tokens
        interactive = plan.tokens > plan.flex_tokens
        self._batches_alone = 0 if interactive else self._batches_alone + 1

    def _lane(self, *, flex: bool) -> Lane:
        return self._flex if flex else self._interactive
