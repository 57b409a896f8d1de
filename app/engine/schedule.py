"""Schedule: which rows go next. A pure policy: no clock, no thread, no await.

Jobs stand in a ring. A batch takes one row of each job in turn, going round until the next row
does not fit; the following batch goes on from there. So a job of 2,048 rows shares every batch
with whoever else waits, a newcomer is at most one round away, and nobody waits for ever.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

# The link that a job came over, and its number there.
JobId = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of the next batch as (job, index of the row in its job), in order.

    `full` says that rows stayed behind: a newcomer would change whose turn it is, but could not
    make the batch larger.
    """

    picks: tuple[tuple[JobId, int], ...]
    tokens: int
    full: bool


class Schedule:
    """Rows that wait, by job. `plan` only looks; `take` removes what was planned."""

    def __init__(self, max_batch_tokens: int) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._ring: OrderedDict[JobId, deque[tuple[int, int]]] = OrderedDict()  # (row, tokens)

    def __bool__(self) -> bool:
        return bool(self._ring)

    def add(self, job: JobId, row_tokens: Sequence[int]) -> None:
        """A new job, whose rows have these numbers of tokens, joins the ring at its end."""
        assert job not in self._ring, "a job is added once"
        self._ring[job] = deque(enumerate(row_tokens))

    def cancel(self, job: JobId) -> None:
        """The job's waiting rows leave. A job that is gone already is fine."""
        self._ring.pop(job, None)

    def plan(self) -> Plan:
        """At most `max_batch_tokens` tokens in turns; a row longer than that goes alone."""
        picks: list[tuple[JobId, int]] = []
        tokens, turns = 0, deque(self._ring)
        taken: dict[JobId, int] = {}
        while turns:
            job = turns.popleft()
            waiting = self._ring[job]
            row, row_tokens = waiting[taken.get(job, 0)]
            if picks and tokens + row_tokens > self._max_batch_tokens:
                return Plan(tuple(picks), tokens, full=True)
            picks.append((job, row))
            tokens += row_tokens
            taken[job] = taken.get(job, 0) + 1
            if taken[job] < len(waiting):
                turns.append(job)
        return Plan(tuple(picks), tokens, full=tokens >= self._max_batch_tokens)

    def take(self, plan: Plan) -> None:
        """Remove the rows of a plan made from this state; who was served goes to the ring's end."""
        for job, row in plan.picks:
            waiting = self._ring[job]
            assert waiting[0][0] == row, "a plan is taken from the state it was made from"
            waiting.popleft()
            if waiting:
                self._ring.move_to_end(job)
            else:
                del self._ring[job]
