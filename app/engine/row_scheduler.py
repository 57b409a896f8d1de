"""RowScheduler: which rows the next batch has. A pure policy: no clock, no thread.

It keeps promise 3 of README.md. Half of a batch goes to the rows of the oldest jobs: the oldest job
gets at least half of each batch, so an accepted job waits at most twice the time a full queue
takes. The other half goes to all jobs by turns (round robin): each places one row, until the next
row does not fit; the following batch goes on from there. So a job of 2,048 rows shares every batch
with all others that wait, and a new job is at most one round away. The exception is a row longer
than half a batch: when its turn comes, the whole batch goes by turns and begins with that row,
which would never fit beside the oldest half.
"""

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

# The link that a job came over, and its number there.
JobId = tuple[int, int]


class Share(NamedTuple):
    """A job's part of a batch: its rows from `first` up to `stop`."""

    job: JobId
    first: int
    stop: int


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The rows of the next batch, those of each job together; who had the last turn is last.

    `full` says that a job which arrives now would have no row in it.
    """

    shares: tuple[Share, ...]
    tokens: int
    full: bool

    @property
    def rows(self) -> int:
        """How many rows that are."""
        return sum(stop - first for _, first, stop in self.shares)

    def has_any(self, jobs: Collection[JobId]) -> bool:
        """Whether a row of one of those jobs is in it."""
        return any(share.job in jobs for share in self.shares)


class _WaitingJob:
    """A job's rows that wait: those from `next` up to `rows`."""

    __slots__ = ("_ends", "next", "rows")

    def __init__(self, row_tokens: Sequence[int]) -> None:
        self._ends = list(accumulate(row_tokens, initial=0))
        self.next = 0
        self.rows = len(row_tokens)

    def tokens(self, first: int, stop: int) -> int:
        """The tokens of rows `first` up to `stop`."""
        return self._ends[stop] - self._ends[first]

    def fitting(self, first: int, room: int) -> int:
        """Up to which row those from `first` on fit into so many tokens."""
        return bisect_right(self._ends, self._ends[first] + room, first) - 1


class RowScheduler:
    """Rows that wait, by job. `plan` only looks; `take` removes what was planned."""

    def __init__(self, max_batch_tokens: int) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._waiting: dict[JobId, _WaitingJob] = {}  # oldest job first
        self._ring: OrderedDict[JobId, None] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, job: JobId, row_tokens: Sequence[int]) -> None:
        """A new job, whose rows have these numbers of tokens, joins the ring at its end."""
        assert job not in self._waiting, "a job is added once"
        self._waiting[job] = _WaitingJob(row_tokens)
        self._ring[job] = None

    def cancel(self, job: JobId) -> None:
        """The job's waiting rows leave. A job that is gone already is fine."""
        self._waiting.pop(job, None)
        self._ring.pop(job, None)

    def plan(self) -> BatchPlan:
        """At most `max_batch_tokens` tokens; a row longer than that goes alone."""
        stops, tokens = self._oldest()
        turns = deque(self._ring)
        # A new job has its first turn before any job's second one: if there are second turns, or
        # one is refused for its size, it might have a row in this batch.
        placed: set[JobId] = set()
        second_turns = False
        while turns:
            job = turns.popleft()
            waiting = self._waiting[job]
            first = stops.get(job, waiting.next)
            if first == waiting.rows:
                continue  # all of it is among the oldest
            stop = first + 1
            if stops and tokens + waiting.tokens(first, stop) > self._max_batch_tokens:
                full = tokens >= self._max_batch_tokens or job not in placed
                return self._planned(stops, tokens, full=full and not second_turns)
            if not turns:  # the only one that is left has all further turns
                stop = max(stop, waiting.fitting(first, self._max_batch_tokens - tokens))
            stops.pop(job, None)
            stops[job] = stop
            tokens += waiting.tokens(first, stop)
            second_turns = second_turns or job in placed or stop > first + 1
            placed.add(job)
            if stop < waiting.rows:
                turns.append(job)
        full = tokens >= self._max_batch_tokens and not second_turns
        return self._planned(stops, tokens, full=full)

    def _planned(self, stops: dict[JobId, int], tokens: int, *, full: bool) -> BatchPlan:
        shares = [Share(job, self._waiting[job].next, stop) for job, stop in stops.items()]
        return BatchPlan(tuple(shares), tokens, full)

    def _oldest(self) -> tuple[dict[JobId, int], int]:
        """The oldest half, as job -> up to which row, and its tokens; nothing if a row longer than
        that has the turn."""
        stops: dict[JobId, int] = {}
        half = room = self._max_batch_tokens // 2
        turn = next(iter(self._ring), None)
        if turn is None or self._first_tokens(turn) > half:
            return stops, 0
        for job, waiting in self._waiting.items():
            stop = waiting.fitting(waiting.next, room)
            if stop > waiting.next:
                stops[job] = stop
                room -= waiting.tokens(waiting.next, stop)
            if stop < waiting.rows:
                break
        return stops, half - room

    def _first_tokens(self, job: JobId) -> int:
        waiting = self._waiting[job]
        return waiting.tokens(waiting.next, waiting.next + 1)

    def take(self, plan: BatchPlan) -> None:
        """Remove a plan's rows, of jobs that still wait; who was served goes to the ring's end."""
        for job, first, stop in plan.shares:
            waiting = self._waiting[job]
            assert waiting.next == first, "a row is taken once"
            waiting.next = stop
            if stop < waiting.rows:
                self._ring.move_to_end(job)
            else:
                self.cancel(job)
