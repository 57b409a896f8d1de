"""Lane: the jobs that wait in one lane, and which of their rows go next. A pure policy: no clock,
no thread.

It keeps promise 3 of README.md. Half of what a batch has room for goes to the rows of the oldest
jobs: the oldest job gets at least half of each batch, so an accepted job waits at most twice the
time a full queue takes. The other half goes to all jobs by turns (round robin): each places one
row, until the next row does not fit; the following batch goes on from there. So a job of 2,048 rows
shares every batch with all others that wait, and a new job is at most one round away. The exception
is a row longer than half the room: when its turn comes, all of the room goes by turns and begins
with that row, which would never fit beside the oldest half. So whatever takes any rows takes the
one whose turn it is.
"""

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

# Of a device's tokens, what flex rows get at least while any wait, unless a setting says otherwise.
FLEX_SHARE = 0.1
# The link that a job came over, and its number there.
JobId = tuple[int, int]


class LanePlan(NamedTuple):
    """Up to which row each job goes, who had the last turn being last, and their tokens. `full`
    says that a job which arrives now would have no row in it."""

    stops: dict[JobId, int]
    tokens: int
    full: bool


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


class Lane:
    """Rows that wait, by job. `plan` only looks; `take` removes."""

    def __init__(self) -> None:
        self._waiting: dict[JobId, _WaitingJob] = {}  # oldest job first
        self._ring: OrderedDict[JobId, None] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __contains__(self, job: JobId) -> bool:
        return job in self._waiting

    def add(self, job: JobId, row_tokens: Sequence[int]) -> None:
        """A new job, whose rows have these numbers of tokens, joins the ring at its end."""
        self._waiting[job] = _WaitingJob(row_tokens)
        self._ring[job] = None

    def cancel(self, job: JobId) -> None:
        """The job's waiting rows leave. A job that is gone already is fine."""
        self._waiting.pop(job, None)
        self._ring.pop(job, None)

    def next_row(self, job: JobId) -> int:
        """The first row of a job that waits."""
        return self._waiting[job].next

    def plan(self, room: int, longest: float) -> LanePlan:
        """Rows of at most `room` tokens together. Where the row whose turn it is has more, it goes
        alone if it has at most `longest`, or else nothing goes."""
        stops, tokens = self._oldest(room)
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
            if tokens + waiting.tokens(first, stop) > (room if stops else max(room, longest)):
                full = tokens >= room or job not in placed
                return LanePlan(stops, tokens, full and not second_turns)
            if not turns:  # the only one that is left has all further turns
                stop = max(stop, waiting.fitting(first, room - tokens))
            stops.pop(job, None)
            stops[job] = stop
            tokens += waiting.tokens(first, stop)
            second_turns = second_turns or job in placed or stop > first + 1
            placed.add(job)
            if stop < waiting.rows:
                turns.append(job)
        return LanePlan(stops, tokens, tokens >= room and not second_turns)

    def _oldest(self, room: int) -> tuple[dict[JobId, int], int]:
        """The oldest half, as job -> up to which row, and its tokens; nothing if a row longer than
        that has the turn."""
        stops: dict[JobId, int] = {}
        half = left = room // 2
        turn = next(iter(self._ring), None)
        if turn is None or self._first_tokens(turn) > half:
            return stops, 0
        for job, waiting in self._waiting.items():
            stop = waiting.fitting(waiting.next, left)
            if stop > waiting.next:
                stops[job] = stop
                left -= waiting.tokens(waiting.next, stop)
            if stop < waiting.rows:
                break
        return stops, half - left

    def _first_tokens(self, job: JobId) -> int:
        waiting = self._waiting[job]
        return waiting.tokens(waiting.next, waiting.next + 1)

    def take(self, job: JobId, first: int, stop: int) -> None:
        """Remove rows of a job, which goes to the ring's end if it still waits."""
        waiting = self._waiting[job]
        assert waiting.next == first, "a row is taken once"
        waiting.next = stop
        if stop < waiting.rows:
            self._ring.move_to_end(job)
        else:
            self.cancel(job)
