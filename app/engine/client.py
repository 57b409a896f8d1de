"""Client: the HTTP side of the engine: submit, await, cancel.

Promises (house numbers; 2 and 3 are kept by worker.py and schedule.py):
1. An accepted job is answered exactly once: with vectors, or with an error that says which. A
   worker that ends fails all its jobs with WorkerLostError; so does one that hangs.
4. Whoever awaits `embed` may be cancelled; the worker is told at once.
5. The queue of each worker is bounded in tokens, from all HTTP processes together. A job that does
   not fit is refused at once and whole, with the time after which it might.
6. A worker that holds jobs of this process, or should end, and says nothing for `batch_timeout_s`
   is killed.
"""

import asyncio
import itertools
import logging
import math
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.engine import messages
from app.engine.queues import Queues
from app.engine.silence import Silence
from app.errors import (
    LONGEST_RETRY_S,
    DeadlineError,
    ForwardError,
    NotReadyError,
    QueueFullError,
    TokenLimitError,
    WorkerLostError,
)
from app.telemetry.metrics import Metrics
from model.rows import Row, Vectors

log = logging.getLogger("quintet.engine")

# Weight of the newest batch in the running mean of tokens per second.
_RATE_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """What the engine takes: tokens that may wait for a worker, seconds that a request may take,
    and seconds that a worker which holds jobs may say nothing."""

    max_queue_tokens: int
    request_timeout_s: float
    batch_timeout_s: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job in a worker's hands."""

    answer: asyncio.Future[Vectors]
    tokens: int
    rows: int


@dataclass(frozen=True, slots=True)
class Peer:
    """A worker that is ready: its number, what it has loaded, and the stream to it."""

    worker: int
    started: messages.Started
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Link:
    """The jobs of this process that one worker holds."""

    def __init__(self, peer: Peer, engine: "EngineClient") -> None:
        self.worker = peer.worker
        self.started = peer.started
        self._reader = peer.reader
        self._writer = peer.writer
        self._engine = engine
        self._metrics = engine.metrics
        self._jobs: dict[int, Waiting] = {}
        self._numbers = itertools.count()
        self._tokens_per_s = 0.0
        self._silence = Silence(engine.limits.batch_timeout_s, self._kill)
        self._finishing = False

    async def embed(self, rows: Sequence[Row], tokens: int) -> Vectors:
        """Hand rows to the worker and await their vectors; cancelling takes them back."""
        number = next(self._numbers)
        answer: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        self._jobs[number] = Waiting(answer, tokens, len(rows))
        self._count(tokens, len(rows))
        self._silence.begin()
        self._writer.write(messages.frame(messages.embed_message(number, rows)))
        try:
            return await answer
        finally:
            if number in self._jobs:  # cancelled: the worker has not answered
                self._remove(number)
                self._writer.write(messages.frame(messages.Cancel(number)))

    async def collect(self) -> None:
        """Give answers to those who wait for them, until the worker's stream ends."""
        while (message := await messages.read_from_worker(self._reader)) is not None:
            self._silence.broken()
            if isinstance(message, messages.BatchDone):
                self._enter(message)
            elif isinstance(message, messages.Answer | messages.Failed):
                self._settle(message)
        self._silence.pause()
        for number in list(self._jobs):
            answer = self._remove(number)
            if not answer.done():
                answer.set_exception(WorkerLostError("the worker ended while it held the request."))

    def _kill(self) -> None:
        """End a worker that hangs; whoever has started it sees that and starts another one."""
        log.error(
            "the worker on %s holds %d requests and has said nothing for %g s: it is killed",
            *(self.started.device, len(self._jobs), self._engine.limits.batch_timeout_s),
        )
        with suppress(ProcessLookupError):
            os.kill(self.started.process, signal.SIGKILL)
        # A process that a driver holds in the kernel does not go; its jobs are answered anyway.
        self._writer.transport.abort()

    def finish(self) -> None:
        """Say that no more jobs will come. The end of the stream is awaited as an answer is."""
        self._finishing = True
        self._silence.begin()
        if not self._writer.is_closing():  # the worker may have just died
            self._writer.write_eof()

    def seconds_for(self, tokens: int) -> int:
        """When there may be room for that many tokens more: whole seconds for Retry-After."""
        seconds = tokens / self._tokens_per_s if self._tokens_per_s else 1
        return min(max(math.ceil(seconds), 1), LONGEST_RETRY_S)

    def _settle(self, message: messages.Answer | messages.Failed) -> None:
        if message.job not in self._jobs:
            return  # cancelled while the answer was on its way
        answer = self._remove(message.job)
        if answer.done():
            return
        if isinstance(message, messages.Failed):
            answer.set_exception(ForwardError(message.reason))
        else:
            self._metrics.stage_seconds.labels("queue").observe(message.queued_s)
            answer.set_result(messages.vectors_of(message, self._engine.width))

    def _remove(self, number: int) -> asyncio.Future[Vectors]:
        job = self._jobs.pop(number)
        if not self._jobs and not self._finishing:
            self._silence.pause()
        self._count(-job.tokens, -job.rows)
        return job.answer

    def _count(self, tokens: int, rows: int) -> None:
        self._engine.queues.add(self.worker, tokens)
        self._metrics.queue_tokens.inc(tokens)
        self._metrics.queue_rows.inc(rows)

    def _enter(self, batch: messages.BatchDone) -> None:
        if self._engine.first:  # all processes hear of a batch, and it counts once
            most = self.started.max_batch_tokens
            self._metrics.batch_rows.observe(batch.rows)
            self._metrics.batch_jobs.observe(batch.jobs)
            self._metrics.batch_tokens.observe(batch.tokens)
            self._metrics.batch_fill_ratio.observe(min(batch.tokens / most, 1))
            self._metrics.stage_seconds.labels("forward").observe(batch.seconds)
        rate = batch.tokens / max(batch.seconds, 1e-6)
        weight = _RATE_WEIGHT if self._tokens_per_s else 1.0
        self._tokens_per_s += weight * (rate - self._tokens_per_s)


class EngineClient:
    """Picks the worker with the fewest tokens waiting, or refuses."""

    def __init__(
        self, limits: Limits, width: int, queues: Queues, metrics: Metrics, *, first: bool = True
    ) -> None:
        """`width` is that of vectors; `first` says that this is the process that starts workers."""
        self.width = width
        self.queues = queues
        self.metrics = metrics
        self.first = first
        self.limits = limits
        self._links: list[Link] = []

    @property
    def ready(self) -> bool:
        """Whether a worker can take jobs."""
        return bool(self._links)

    @property
    def ready_workers(self) -> list[int]:
        """The numbers of the workers that are ready."""
        return [link.worker for link in self._links]

    @property
    def workers(self) -> list[messages.Started]:
        """What the workers that are ready have loaded."""
        return [link.started for link in self._links]

    def attach(self, link: Link) -> None:
        """A worker is ready."""
        self._links.append(link)
        self.metrics.workers_ready.set(len(self._links))

    def detach(self, link: Link) -> None:
        """A worker has ended."""
        self._links.remove(link)
        self.metrics.workers_ready.set(len(self._links))

    async def embed(self, rows: Sequence[Row]) -> Vectors:
        """Rows -> their vectors (S, D) float32, not normalised, in order.

        Raises:
            TokenLimitError: the rows have more tokens than the whole queue.
            NotReadyError, QueueFullError: nothing was accepted; retry later.
            WorkerLostError, ForwardError, DeadlineError: accepted, and failed.
        """
        tokens = sum(map(len, rows))
        link = self._admit(tokens)
        try:
            async with asyncio.timeout(self.limits.request_timeout_s):
                return await link.embed(rows, tokens)
        except TimeoutError:
            raise DeadlineError(self.limits.request_timeout_s) from None

    def _admit(self, tokens: int) -> Link:
        limit = self.limits.max_queue_tokens
        if tokens > limit:
            raise TokenLimitError(
                f"the request has {tokens} tokens in all; at most {limit} can wait here at once. "
                "Send it in parts."
            )
        if not self._links:
            self.metrics.refused.labels("not ready").inc()
            raise NotReadyError("no worker has its model loaded at the moment.", retry_after_s=2)
        link = min(self._links, key=lambda each: self.queues.tokens(each.worker))
        waiting = self.queues.tokens(link.worker)
        if waiting + tokens > limit:
            self.metrics.refused.labels("queue full").inc()
            over = waiting + tokens - limit
            raise QueueFullError(tokens, waiting, limit, link.seconds_for(over))
        return link
