"""The engine as an HTTP process sees it: submit jobs to workers and await their results.

It keeps promises 1, 4, 5, 6 and 14 of README.md; sharing.py keeps 13.
"""

import asyncio
import itertools
import logging
import math
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.engine import framing, messages
from app.engine.control import LinkWorker, WorkerStarted
from app.engine.hang_timer import HangTimer
from app.engine.lane import FLEX_SHARE
from app.engine.queue_table import QueueTable
from app.engine.row_cache import RowCache
from app.engine.sharing import Answer, NeighbourError, SharedRows
from app.errors import (
    LONGEST_RETRY_S,
    DeadlineError,
    FlexQueueFullError,
    ForwardError,
    NotReadyError,
    QueueFullError,
    TokenLimitError,
    WorkerLostError,
)
from app.telemetry.metrics import LANES, ServiceMetrics
from model.rows import Row, Vectors
from model.spaces import Fingerprint

log = logging.getLogger("quintet.engine")

# Weight of the newest batch in the running mean of tokens per second.
_RATE_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What the engine takes: tokens that may wait for a worker in the interactive lane and in the
    flex lane, seconds that a request may take, seconds for which a worker that holds jobs may send
    nothing, bytes of vectors that are kept (0 computes every row anew), and the flex lane's share
    of a device beside interactive rows."""

    max_queue_tokens: int
    max_flex_queue_tokens: int
    request_timeout_s: float
    batch_timeout_s: float
    cache_bytes: int
    flex_share: float = FLEX_SHARE

    def queue_tokens(self, *, flex: bool) -> int:
        """Tokens that may wait in one lane."""
        return self.max_flex_queue_tokens if flex else self.max_queue_tokens


@dataclass(frozen=True, slots=True)
class PendingJob:
    """A job that a worker holds."""

    answer: Answer
    tokens: int
    rows: int
    flex: bool


class WorkerLink:
    """The connection to one worker, and the jobs of this process that it holds."""

    def __init__(
        self,
        message: LinkWorker,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        engine: "EngineClient",
    ) -> None:
        self.worker = message.worker
        self.started = message.started
        self._reader, self._writer = streams
        self._engine = engine
        self._metrics = engine.metrics
        self._jobs: dict[int, PendingJob] = {}
        self._numbers = itertools.count()
        self._tokens_per_s = 0.0
        self._hang_timer = HangTimer(engine.limits.batch_timeout_s, self._kill)

    def submit(self, rows: Sequence[Row], tokens: int, answer: Answer, *, flex: bool) -> int:
        """Hand rows to the worker; the job's number. `answer` is called with their vectors, or why
        it fails, unless it is withdrawn before."""
        number = next(self._numbers)
        self._jobs[number] = PendingJob(answer, tokens, len(rows), flex)
        self._count(tokens, len(rows), flex=flex)
        self._hang_timer.start()
        self._send(messages.embed_message(number, rows, flex=flex))
        return number

    def withdraw(self, number: int) -> None:
        """Take a job back, if the worker has not answered."""
        if number in self._jobs:
            self._remove([number])
            self._send(messages.Cancel(number))

    async def collect(self) -> None:
        """Give results to those who wait for them, until the worker's stream ends; then fail what
        it still holds, and remove the link."""
        async for frames in framing.read_frames(self._reader):
            self._hang_timer.reset()
            received = list(map(messages.decode_from_worker, frames))
            for message in received:
                if isinstance(message, messages.BatchDone):
                    self._enter(message)
            answers = [each for each in received if not isinstance(each, messages.BatchDone)]
            # Some may be cancelled while the result was on its way.
            if held := {each.job: each for each in answers if each.job in self._jobs}:
                self._finish(held)
        self._hang_timer.pause()
        for job in self._remove(list(self._jobs)):
            job.answer(WorkerLostError("the worker ended while it held the request."))
        self._engine.remove_link(self)
        self._writer.close()

    def _send(self, message: messages.ToWorker) -> None:
        """Write a message, unless the worker has been killed: `collect` answers what it holds."""
        if not self._writer.is_closing():  # a closed transport of uvloop raises RuntimeError
            self._writer.write(messages.frame(message))

    def _kill(self) -> None:
        """End a worker that hangs; the parent sees that and starts another one."""
        log.error(
            "the worker on %s holds %d requests and has said nothing for %g s: it is killed",
            *(self.started.device, len(self._jobs), self._engine.limits.batch_timeout_s),
        )
        with suppress(ProcessLookupError):
            os.kill(self.started.process, signal.SIGKILL)
        # A process that a driver holds in the kernel does not end; its jobs are answered anyway.
        self._writer.transport.abort()

    def seconds_for(self, tokens: int, *, flex: bool) -> int:
        """When there may be room for that many tokens more: whole seconds for Retry-After."""
        beside = flex and self._engine.queues.tokens(self.worker) > 0
        rate = self._tokens_per_s * (self._engine.limits.flex_share if beside else 1)
        seconds = tokens / rate if rate else 1
        return min(max(math.ceil(seconds), 1), LONGEST_RETRY_S)

    def _finish(self, answers: Mapping[int, messages.JobResult | messages.JobFailed]) -> None:
        for job, message in zip(self._remove(answers), answers.values(), strict=True):
            if isinstance(message, messages.JobFailed):
                job.answer(ForwardError(message.reason))
            else:
                stage = "flex_queue" if job.flex else "queue"
                self._metrics.stage_seconds.labels(stage).observe(message.queued_s)
                job.answer(messages.vectors_of(message, self._engine.width))

    def _remove(self, numbers: Iterable[int]) -> list[PendingJob]:
        jobs = [self._jobs.pop(number) for number in numbers]
        if not self._jobs:
            self._hang_timer.pause()
        for job in jobs:
            self._count(-job.tokens, -job.rows, flex=job.flex)
        return jobs

    def _count(self, tokens: int, rows: int, *, flex: bool) -> None:
        self._engine.queues.add(self.worker, tokens, flex=flex)
        self._metrics.queue_tokens.labels(LANES[flex]).inc(tokens)
        self._metrics.queue_rows.labels(LANES[flex]).inc(rows)

    def _enter(self, batch: messages.BatchDone) -> None:
        if batch.counted:
            most = self.started.max_batch_tokens
            self._metrics.rows.labels("computed").inc(batch.rows)
            interactive_tokens = batch.tokens - batch.flex_tokens
            for lane, tokens in zip(LANES, (interactive_tokens, batch.flex_tokens), strict=True):
                self._metrics.lane_tokens.labels(lane).inc(tokens)
            self._metrics.batch_rows.observe(batch.rows)
            self._metrics.batch_requests.observe(batch.jobs)
            self._metrics.batch_tokens.observe(batch.tokens)
            self._metrics.batch_fill_ratio.observe(min(batch.tokens / most, 1))
            self._metrics.stage_seconds.labels("forward").observe(batch.seconds)
        rate = batch.tokens / max(batch.seconds, 1e-6)
        weight = _RATE_WEIGHT if self._tokens_per_s else 1.0
        self._tokens_per_s += weight * (rate - self._tokens_per_s)


class EngineClient:
    """Picks the worker with the fewest tokens waiting in a lane, or refuses."""

    def __init__(
        self, limits: EngineLimits, width: int, queues: QueueTable, metrics: ServiceMetrics
    ) -> None:
        """`width` is that of vectors."""
        self.width = width
        self.queues = queues
        self.metrics = metrics
        self.limits = limits
        self._links: list[WorkerLink] = []
        self._fingerprint: Fingerprint | None = None
        self._shared = SharedRows(self._admit, RowCache(limits.cache_bytes, width), metrics)
        self._embed = self._shared.embed if limits.cache_bytes else self._shared.embed_alone

    @property
    def has_been_ready(self) -> bool:
        """Whether a worker has loaded the checkpoint."""
        return self._fingerprint is not None

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the checkpoint.

        Raises:
            NotReadyError: no worker has loaded it yet.
        """
        if self._fingerprint is None:
            raise self._not_ready()
        return self._fingerprint

    @property
    def ready(self) -> bool:
        """Whether a worker can take jobs."""
        return bool(self._links)

    @property
    def workers(self) -> list[WorkerStarted]:
        """What the workers that are ready have loaded."""
        return [link.started for link in self._links]

    def add_link(self, link: WorkerLink) -> None:
        """A worker is ready. What it computes may differ from what is cached: it may have read
        another checkpoint from the same folder."""
        self._links.append(link)
        self._fingerprint = link.started.fingerprint
        self._shared.forget()
        self.metrics.workers_ready.set(len(self._links))

    def remove_link(self, link: WorkerLink) -> None:
        """A worker has ended."""
        self._links.remove(link)
        self.metrics.workers_ready.set(len(self._links))

    async def embed(self, rows: Sequence[Row], *, flex: bool = False) -> Vectors:
        """Rows -> their vectors (S, D) float32, not normalised, in order. `flex` is their lane.

        Raises:
            TokenLimitError: the rows have more tokens than the whole queue.
            NotReadyError, QueueFullError: nothing was accepted; retry later.
            WorkerLostError, ForwardError, DeadlineError: accepted, and failed.
        """
        tokens, limit = sum(map(len, rows)), self.limits.queue_tokens(flex=flex)
        if tokens > limit:  # whether they are cached or not: a mistake is one at any time
            raise TokenLimitError(
                f"the request has {tokens} tokens in all; at most {limit} can wait here at once. "
                "Send it in parts."
            )
        until = asyncio.get_running_loop().time() + self.limits.request_timeout_s
        try:
            try:
                return await self._embed(rows, tokens, until, flex=flex)
            except NeighbourError:
                return await self._shared.embed_alone(rows, tokens, until, flex=flex)
        except TimeoutError:
            raise DeadlineError(self.limits.request_timeout_s) from None

    def _admit(self, tokens: int, flex: bool) -> WorkerLink:
        if not self._links:
            raise self._not_ready()

        def waiting(link: WorkerLink) -> tuple[int, int]:
            """What waits in the same lane, and then what waits in the other one."""
            same, other = (self.queues.tokens(link.worker, flex=lane) for lane in (flex, not flex))
            return same, other

        link = min(self._links, key=waiting)
        before, limit = waiting(link)[0], self.limits.queue_tokens(flex=flex)
        if (over := before + tokens - limit) > 0:
            refusal = FlexQueueFullError if flex else QueueFullError
            self.metrics.refused.labels(refusal.reason).inc()
            raise refusal(tokens, before, limit, link.seconds_for(over, flex=flex))
        return link

    def _not_ready(self) -> NotReadyError:
        self.metrics.refused.labels(NotReadyError.reason).inc()
        return NotReadyError("no worker has its model loaded at the moment.", retry_after_s=2)
