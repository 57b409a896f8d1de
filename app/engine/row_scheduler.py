"""RowScheduler: which rows the next batch has. A pure policy: no clock, no thread.

It keeps promise 3 of README.md. Half of a batch goes to the rows of the oldest jobs: the oldest job
gets at least half of each batch, so an accepted job waits at most twice the time a full queue
takes. The other half goes to all jobs by turns (round robin): each places one row, until the next
row does not fit; the following batch goes on from there. So a job of 2,048 rows shares every batch
with all others that wait, and a new job is at most one round away. The exception is a row longer
than half a batch: when its turn comes, the whole batch goes by turns and begins with that row,
which would never fit beside the oldest half.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# The link that a job came over, and its number there.
JobId = tuple[int, int]


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The rows of the next batch as (job, index of the row in its job), in order.

    `full` says that a job which arrives now would have no row in it.
    """

    picks: tuple[tuple[JobId, int], ...]
    tokens: int
    full: bool


class RowScheduler:
    """Rows that wait, by job. `plan` only looks; `take` removes what was planned."""

    def __init__(self, max_batch_tokens: int) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._waiting: dict[JobId, deque[tuple[int, int]]] = {}  # (row, tokens), oldest job first
        self._ring: OrderedDict[JobId, None] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, job: JobId, row_tokens: Sequence[int]) -> None:
        """A new job, whose rows have these numbers of tokens, joins the ring at its end."""
        assert job not in self._waiting, "a job is added once"
        self._waiting[job] = deque(enumerate(row_tokens))
        self._ring[job] = None

    def cancel(self, job: JobId) -> None:
        """The job's waiting rows leave. A job that is gone already is fine."""
        self._waiting.pop(job, None)
        self._ring.pop(job, None)

    def plan(self) -> BatchPlan:
        """At most `max_batch_tokens` tokens; a row longer than that goes alone."""
        picks: list[tuple[JobId, int]] = []
        tokens = 0
        for job, row, row_tokens in self._oldest():
            picks.append((job, row))
            tokens += row_tokens
        turns, taken = deque(self._ring), Counter(job for job, _ in picks)
        # A new job has its first turn before any job's second one: if there are second turns, it
        # would have a row in this batch.
        placed: set[JobId] = set()
        second_turns = 0
        while turns:
            job = turns.popleft()
            waiting = self._waiting[job]
            if taken[job] == len(waiting):
                continue  # all of it is among the oldest
            row, row_tokens = waiting[taken[job]]
            if picks and tokens + row_tokens > self._max_batch_tokens:
                return BatchPlan(tuple(picks), tokens, full=not second_turns)
            picks.append((job, row))
            tokens += row_tokens
            taken[job] += 1
            second_turns += job in placed
            placed.add(job)
            if taken[job] < len(waiting):
                turns.append(job)
        full = tokens >= self._max_batch_tokens and not second_turns
        return BatchPlan(tuple(picks), tokens, full)

    def _oldest(self) -> Iterator[tuple[JobId, int, int]]:
        """Job, row and tokens of the oldest half; none if a row longer than that has the turn."""
        half = self._max_batch_tokens // 2
        turn = next(iter(self._ring), None)
        if turn is None or self._waiting[turn][0][1] > half:
            return
        tokens = 0
        for job, waiting in self._waiting.items():
            for row, row_tokens in waiting:
                tokens += row_tokens
                if tokens > half:
                    return
                yield job, row, row_tokens

    def take(self, plan: BatchPlan) -> None:
        """Remove the rows of a plan made from this state; who was served goes to the ring's end."""
        for job, row in plan.picks:
            waiting = self._waiting[job]
            assert waiting[0][0] == row, "a plan is taken from the state it was made from"
            waiting.popleft()
            if waiting:
                self._ring.move_to_end(job)
            else:
                self.cancel(job)
