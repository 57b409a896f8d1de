"""SharedRows: equal rows are computed once while they are in flight, and not again when cached.

It keeps promise 13 of README.md. A request joins rows that are in flight and makes one job of the
others. A job is answered whole, so that a request joins none of more tokens than its own: a single
query does not wait for bulk that has the same text (promise 3). Nor does an interactive request
join a flex job: it has one of its own, in its own lane (promise 14). A job lives as long as
somebody waits for a row of it: when a caller leaves, it is withdrawn if nobody waits for any of its
rows, and submitted anew without some if nobody waits for those. Only `embed` awaits, so that
nothing is ever seen half done.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from app.engine.row_cache import RowCache, key_of
from app.errors import ForwardError, QuintetError
from app.telemetry.metrics import ServiceMetrics
from model.rows import Row, Vectors

Answer = Callable[[Vectors | QuintetError], None]


class Link(Protocol):
    """The connection to a worker."""

    def submit(self, rows: Sequence[Row], tokens: int, answer: Answer, *, flex: bool) -> int:
        """Hand a job to the worker; its number. `answer` is called once, unless it is withdrawn."""

    def withdraw(self, number: int) -> None:
        """Take a job back, if it is not answered."""


Admit = Callable[[int, bool], Link]


class NeighbourError(Exception):
    """A job failed that others wait for, too: perhaps by a row that this caller did not ask for."""


@dataclass(slots=True, eq=False)
class SharedJob:
    """A job, and those who wait for any row of it."""

    link: Link
    flex: bool
    rows: "list[PendingRow]" = field(default_factory=list)
    number: int = -1
    tokens: int = 0
    callers: "set[Caller]" = field(default_factory=set)
    vectors: Vectors | None = None

    def joined_by(self, tokens: int, *, flex: bool) -> bool:
        """Whether a request of so many tokens waits no longer with it than without it."""
        return self.tokens <= tokens and (flex or not self.flex)


@dataclass(slots=True, eq=False)
class PendingRow:
    """A row in flight: its first span in its job, and how many callers wait for it. One without a
    key is not shared."""

    key: bytes | None
    row: Row
    job: SharedJob
    first: int = 0
    callers: int = 0

    @property
    def vectors(self) -> Vectors:
        """Its vectors (S, D)."""
        assert self.job.vectors is not None, "the job is done"
        return self.job.vectors[self.first : self.first + len(self.row.spans)]


@dataclass(slots=True, eq=False)
class Caller:
    """One request, and the jobs that it waits for."""

    answered: asyncio.Future[None]
    jobs: set[SharedJob]

    def hear(self, job: SharedJob, error: Exception | None) -> None:
        """A job is done, or has failed."""
        self.jobs.discard(job)
        if self.answered.done():
            return  # it is leaving
        if error is not None:
            self.answered.set_exception(error)
        elif not self.jobs:
            self.answered.set_result(None)

    def expire(self) -> None:
        """Its time is over."""
        if not self.answered.done():
            self.answered.set_exception(TimeoutError())


class SharedRows:
    """The rows in flight of one HTTP process, and its cache."""

    def __init__(self, admit: Admit, cache: RowCache, metrics: ServiceMetrics) -> None:
        """`admit` picks the worker for so many tokens of a flex job or of another one, or raises
        why none takes them."""
        self._admit = admit
        self._cache = cache
        self._cache_bytes = metrics.cache_bytes
        self._cached, self._shared = map(metrics.rows.labels, ("cached", "shared"))
        self._in_flight: dict[bytes | None, PendingRow] = {}

    async def embed(self, rows: Sequence[Row], tokens: int, until: float, *, flex: bool) -> Vectors:
        """Rows of so many tokens -> their vectors (S, D) float32, in order.

        Raises:
            TimeoutError: they are not there at the time `until` of the event loop.
            NeighbourError: they are to be computed again, apart from other callers'.
            QuintetError: what `admit` raises, and what workers answer.
        """
        keys = [key_of(row) for row in rows]
        cached: dict[bytes, Vectors] = {}
        pending: dict[bytes, PendingRow] = {}
        missing: dict[bytes, Row] = {}
        for key, row in zip(keys, rows, strict=True):
            if key in missing or key in pending or key in cached:
                continue
            if (vectors := self._cache.get(key)) is not None:
                cached[key] = vectors
            elif (other := self._in_flight.get(key)) and other.job.joined_by(tokens, flex=flex):
                pending[key] = other
            else:
                missing[key] = row
        if len(missing) == len(rows):
            return await self._computed(missing.items(), tokens, until, flex=flex)
        if missing:  # before anything is joined: it may be refused
            new_tokens = sum(map(len, missing.values()))
            submitted = self._submit(missing.items(), new_tokens, flex=flex)
            pending |= zip(missing, submitted, strict=True)
        from_cache = sum(key in cached for key in keys)
        self._cached.inc(from_cache)
        self._shared.inc(len(rows) - len(missing) - from_cache)
        if pending:
            await self._wait(list(pending.values()), until)
        return np.concatenate(
            [cached[key] if key in cached else pending[key].vectors for key in keys]
        )

    async def embed_alone(
        self, rows: Sequence[Row], tokens: int, until: float, *, flex: bool
    ) -> Vectors:
        """The same, without anything of others and anything for them."""
        return await self._computed([(None, row) for row in rows], tokens, until, flex=flex)

    def forget(self) -> None:
        """Empty the cache."""
        self._cache.clear()
        self._cache_bytes.set(0)

    async def _computed(
        self, rows: Iterable[tuple[bytes | None, Row]], tokens: int, until: float, *, flex: bool
    ) -> Vectors:
        """The vectors of one job."""
        pending = self._submit(rows, tokens, flex=flex)
        await self._wait(pending, until)
        vectors = pending[0].job.vectors
        assert vectors is not None, "the job is done"
        return vectors

    def _submit(
        self, rows: Iterable[tuple[bytes | None, Row]], tokens: int, *, flex: bool
    ) -> list[PendingRow]:
        """One job of rows that are neither cached nor joined, by key."""
        job = SharedJob(self._admit(tokens, flex), flex)
        made = [PendingRow(key, row, job) for key, row in rows]
        self._send(job, made, tokens)
        self._in_flight |= {each.key: each for each in made if each.key is not None}
        return made

    def _send(self, job: SharedJob, rows: list[PendingRow], tokens: int) -> None:
        first = 0
        for each in rows:
            each.first = first
            first += len(each.row.spans)
        job.rows, job.tokens = rows, tokens
        answer = partial(self._finish, job)
        submitted = [each.row for each in rows]
        job.number = job.link.submit(submitted, tokens, answer, flex=job.flex)

    async def _wait(self, pending: list[PendingRow], until: float) -> None:
        """Until all these rows are computed, one's job has failed, or it is too late."""
        loop = asyncio.get_running_loop()
        answered = loop.create_future()
        caller = Caller(answered, {each.job for each in pending})
        for each in pending:
            each.callers += 1
        for job in caller.jobs:
            job.callers.add(caller)
        timer = loop.call_at(until, caller.expire)  # much cheaper than asyncio.timeout
        try:
            await answered
        finally:
            timer.cancel()
            if caller.jobs:  # cancelled, too late, or failed
                for each in pending:
                    each.callers -= 1
                for job in caller.jobs:
                    job.callers.discard(caller)
                    self._keep_wanted(job)
            # An exception's traceback has this frame, which would lead to the exception again.
            del answered, caller

    def _keep_wanted(self, job: SharedJob) -> None:
        """Take back the rows of a job that nobody waits for.

        A worker takes back whole jobs: what others wait for is submitted again, without being
        refused, since the job's own tokens have just left the queue.
        """
        wanted = [each for each in job.rows if each.callers]
        if len(wanted) == len(job.rows):
            return
        self._landed(each for each in job.rows if not each.callers)
        job.link.withdraw(job.number)
        job.rows = []
        if wanted:
            self._send(job, wanted, sum(len(each.row) for each in wanted))

    def _landed(self, rows: Iterable[PendingRow]) -> None:
        """Rows that are not in flight any more; a smaller job may have equal ones."""
        for each in rows:
            if self._in_flight.get(each.key) is each:
                del self._in_flight[each.key]

    def _finish(self, job: SharedJob, outcome: Vectors | QuintetError) -> None:
        """A worker has answered. References in circles are cut: memory is freed at once."""
        rows, job.rows = job.rows, []
        self._landed(rows)
        error: Exception | None = None
        if isinstance(outcome, QuintetError):
            several = len(job.callers) > 1 and isinstance(outcome, ForwardError)
            error = NeighbourError() if several else outcome
        else:
            job.vectors = outcome
            for each in rows:
                if each.key is not None and not job.flex:
                    self._cache.put(each.key, each.vectors)
            self._cache_bytes.set(self._cache.bytes)
        while job.callers:
            job.callers.pop().hear(job, error)
