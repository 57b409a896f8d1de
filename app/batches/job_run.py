"""The work on one job: validate its file, have its lines answered, write the answers.

Promises
1. Answers stand in the order of the lines, each once: see output.py.
2. As many lines are under way as `room` has inputs for, one at least; in memory there are those and
   what they were answered.
3. A cancellation loses nothing of what is committed, and commits nothing more.
4. Answers that cannot be written are kept until they can be, and no further line is sent meanwhile
   than those under way.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import ParamSpec

import msgspec

from app.batches import output, records
from app.batches.answering import Written, answered
from app.batches.folder import Shelf
from app.batches.input_lines import Line, LineReader, validated
from app.batches.output import JobOutput
from app.batches.pace import Pace
from app.batches.records import Fault, Job, Progress, Status, now
from app.batches.sender import Sender
from app.batches.shown import said
from app.batches.window import Window
from app.errors import StorageError

P = ParamSpec("P")

log = logging.getLogger("quintet.batches")

_READ_BYTES = 1 << 20
_EXPIRED_AT_ONCE = 1000
# After so long what could not be written is tried again.
STORAGE_S = 5.0


class SupersededError(Exception):
    """The job is not any more what the runner took it for: it was cancelled."""


class JobRun:
    """One job, until it has ended, or `stopping` says so."""

    def __init__(
        self,
        job: Job,
        shelf: Shelf,
        sender: Sender,
        room: Callable[[], int],
        stopping: Callable[[], bool],
    ) -> None:
        self.job = job
        self.waiting = False  # for what it has to write
        self._shelf, self._sender = shelf, sender
        self._room, self._stopping = room, stopping
        self._reader = LineReader(job.endpoint, shelf.settings.max_body_bytes, job.template)
        self._path = shelf.store.path(job.input_file_id)
        self._pace = Pace(time.monotonic())
        self._window = Window()

    async def run(self) -> None:
        """Do what the job's status asks for.

        Raises:
            StorageError: something cannot be written.
            SupersededError: the job was cancelled meanwhile.
        """
        expired = records.expired(self.job, now())
        if self.job.status == "validating":
            await self._validate()
        if expired and self.job.status == "in_progress":
            await self._expire()
        elif self.job.status == "in_progress":
            await self._answer_lines()
        if self.job.status == "finalizing":
            await self._end("completed")
        elif self.job.status == "cancelling":
            await self._end("cancelled")

    async def _validate(self) -> None:
        most = self._shelf.settings.max_file_lines
        total, faults = await asyncio.to_thread(validated, self._reader, self._path, most)
        if faults:
            await self._change(lambda job: records.failed(job, faults, now()), "validating")
            self._shelf.metrics.ended.labels("failed").inc()
            log.info("%s failed: %s", self.job.id, faults[0].message)
        else:
            await self._change(lambda job: records.begun(job, total, now()), "validating")
            log.info("%s begins: %d lines for %s", self.job.id, total, self.job.endpoint)

    async def _change(self, change: Callable[[Job], Job | None], expected: Status) -> None:
        """Change the job in the store, if it has that status there."""

        def checked(job: Job) -> Job | None:
            return change(job) if job.status == expected else None

        changed = await asyncio.to_thread(self._shelf.jobs.change, self.job.id, checked)
        if changed is None:
            raise SupersededError
        self.job = changed

    async def _answer_lines(self) -> None:
        files = await asyncio.to_thread(JobOutput, self._shelf.store, self.job)
        pending: deque[tuple[Line, asyncio.Task[Written]]] = deque()
        lines = self._rest()
        more = True
        try:
            while batch := await asyncio.to_thread(_read_ahead, lines):
                for line in batch:
                    while pending and _weight(pending) + line.weight > self._room():
                        await self._commit(files, await _finished(pending))
                    more = not self._stopping()
                    if not more:
                        break
                    answering = answered(self._sender, self.job, line, self._window)
                    pending.append((line, asyncio.create_task(answering)))
                if not more:
                    break
            while pending:
                await self._commit(files, await _finished(pending))
        finally:
            for _, task in pending:
                task.cancel()
            await asyncio.gather(*(task for _, task in pending), return_exceptions=True)
            files.close()
        if more:
            at = now()
            await self._change(
                lambda job: msgspec.structs.replace(job, status="finalizing", finalizing_at=at),
                "in_progress",
            )

    def _rest(self) -> Iterator[Line]:
        """The lines that are not done. Those before are read too, for their custom_ids."""
        return itertools.islice(self._reader.lines(self._path), self.job.progress.lines, None)

    async def _commit(self, files: JobOutput, written: list[Written]) -> None:
        """Write what the next lines were answered, and then that they are done.

        Raises:
            StorageError: it cannot be written, and the work is to stop.
        """
        while True:
            try:
                await _in_thread(self._write, files, written)
            except StorageError as error:
                if self._stopping():
                    raise
                await self._wait(error)
            else:
                self.waiting = False
                return

    async def _wait(self, error: StorageError) -> None:
        if not self.waiting:
            log.error("%s waits: %s", self.job.id, error)
        self.waiting = True
        await self.note(error)
        await asyncio.sleep(STORAGE_S)

    async def note(self, error: StorageError) -> None:
        """Have the job say what it waits for, if that can be written."""
        fault = Fault("storage_full", str(error))
        with contextlib.suppress(StorageError):
            await asyncio.to_thread(
                self._shelf.jobs.change, self.job.id, lambda job: records.waiting(job, fault)
            )

    def _write(self, files: JobOutput, written: list[Written]) -> None:
        before = self.job.progress
        answers = b"".join(each.output for each in written)
        errors = b"".join(each.errors for each in written)
        self._shelf.files.check_room(len(answers) + len(errors))
        output_bytes, error_bytes = files.write(before, answers, errors)
        completed = before.completed + sum(bool(each.output) for each in written)
        lines = before.lines + len(written)
        tokens = before.tokens + sum(each.tokens for each in written)
        self._pace.add(time.monotonic(), len(written), tokens - before.tokens)
        after = Progress(
            lines=lines,
            completed=completed,
            failed=lines - completed,
            tokens=tokens,
            output_bytes=output_bytes,
            error_bytes=error_bytes,
            lines_per_s=self._pace.lines_per_s,
            tokens_per_s=self._pace.tokens_per_s,
        )
        changed = self._shelf.jobs.change(
            self.job.id, lambda job: records.advanced(job, before, after)
        )
        if changed is None:
            raise SupersededError
        self.job = changed
        lines_done = self._shelf.metrics.lines
        lines_done.labels("completed").inc(after.completed - before.completed)
        lines_done.labels("failed").inc(after.failed - before.failed)
        if self._pace.is_due(time.monotonic()):
            log.info("%s", said(changed))

    async def _expire(self) -> None:
        """End the job; its lines that are not done are said to have expired."""
        files = await asyncio.to_thread(JobOutput, self._shelf.store, self.job)
        try:
            await _in_thread(self._write_expired, files)
        finally:
            files.close()
        await self._end("expired")

    def _write_expired(self, files: JobOutput) -> None:
        lines = self._rest()
        while batch := list(itertools.islice(lines, _EXPIRED_AT_ONCE)):
            self._write(
                files, [Written(errors=output.expired_line(self.job, line)) for line in batch]
            )

    async def _end(self, status: Status) -> None:
        await _in_thread(self._finish, status)
        log.info("%s", said(self.job))

    def _finish(self, status: Status) -> None:
        """List the files and end the job, both or neither."""
        JobOutput(self._shelf.store, self.job).close()  # without what was not committed
        job = self.job
        with self._shelf.store.transaction():
            self._shelf.files.add(self._shelf.files.written(job))
            changed = self._shelf.jobs.change(
                job.id, lambda stored: records.ended(stored, status, now())
            )
        if changed is None:
            raise SupersededError
        self.job = changed
        self._shelf.metrics.ended.labels(status).inc()
        output.discard_empty(self._shelf.store, job)


async def _in_thread(work: Callable[P, None], *given: P.args, **named: P.kwargs) -> None:
    """Do what writes in a thread, and wait for its end however often the job is cancelled
    meanwhile: whoever opens the files next must be alone with them."""
    doing = asyncio.ensure_future(asyncio.to_thread(work, *given, **named))
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        while not doing.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({doing})
        if not doing.cancelled():
            doing.exception()  # it does not matter any more
        raise


async def _finished(pending: deque[tuple[Line, asyncio.Task[Written]]]) -> list[Written]:
    """Wait for the first line's answer; that, and those behind it that are there too."""
    written = [await pending[0][1]]
    pending.popleft()
    while pending and pending[0][1].done():
        written.append(pending.popleft()[1].result())
    return written


def _weight(pending: deque[tuple[Line, asyncio.Task[Written]]]) -> int:
    return sum(line.weight for line, _ in pending)


def _read_ahead(lines: Iterator[Line]) -> list[Line]:
    """The next lines, some of which wait in memory."""
    found, size = [], 0
    for line in lines:
        found.append(line)
        size += len(line.body)
        if size > _READ_BYTES or len(found) == _EXPIRED_AT_ONCE:
            break
    return found
