"""The runner: the one that works on batch jobs, wherever several processes share a folder.

Promises
1. One process works on jobs: the one that holds the lock of the folder, which the system takes away
   from it when it ends, however that is. The others wait for the lock.
2. The oldest job of each owner is worked on, of at most MOST_JOBS owners at once: an owner's bulk
   does not wait for another owner's.
3. A job that cannot be written goes on by itself when there is room; its `errors` say so meanwhile.
   One whose files have lost what was written fails, and lists what is left.
4. When it is told to stop it sends no further line; what is answered soon is still written.
5. Whatever it cannot do it says in the log, and tries again.
6. It alone counts jobs and lines, when they are committed: a kill may lose the last count, and
   nothing counts twice.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from app.batches import records
from app.batches.folder import Shelf
from app.batches.job_run import STORAGE_S, JobRun, SupersededError
from app.batches.output import DamagedOutputError, JobOutput, discard_empty, of_what_is_left
from app.batches.records import DAY_S, Fault, Job, now
from app.batches.sender import Sender
from app.batches.shown import said
from app.batches.store import writing
from app.errors import StorageError
from app.telemetry.metrics import JOB_STATES

log = logging.getLogger("quintet.batches")

MOST_JOBS = 8
# How often jobs are looked for that another process has made or cancelled.
_LOOK_S = 0.5
_LOCK_S = 1.0
_SWEEP_S = 30.0
# For the lines that are under way at the end; the engine still answers then.
_END_S = 5.0


class Runner:
    """Works on the jobs of a store."""

    def __init__(
        self, shelf: Shelf, sender: Sender, draining: Callable[[], bool] = lambda: False
    ) -> None:
        """`draining` is true from when on no further line is to be sent."""
        self._shelf, self._sender, self._draining = shelf, sender, draining
        self._running: dict[str, tuple[JobRun, asyncio.Task[None]]] = {}
        self._ending: set[str] = set()  # of those, the ones that have expired
        self._not_before: dict[str, float] = {}
        self._wake, self._stopped = asyncio.Event(), False
        self._swept = float("-inf")
        self._said = ""

    def wake(self) -> None:
        """There is something new to do."""
        self._wake.set()

    def stop(self) -> None:
        """End `run` soon."""
        self._stopped = True
        self._wake.set()

    async def run(self) -> None:
        """Work on jobs until `stop`."""
        lock = await self._lock()
        if lock is None:
            return
        log.info(
            "batch jobs in %s are worked on by process %d", self._shelf.store.folder, os.getpid()
        )
        try:
            while not self._stopped:
                self._wake.clear()
                try:
                    await self._look()
                except Exception as error:  # noqa: BLE001  (else jobs stay queued for ever)
                    self._say(f"batch jobs cannot be looked after: {error!r}", error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _LOOK_S)
        finally:
            await self._end()
            os.close(lock)

    async def _lock(self) -> int | None:
        """Wait for the lock; None if it is the end before."""
        path = self._shelf.store.folder / "runner.lock"
        while not self._stopped:
            try:
                return _locked(path)
            except BlockingIOError:  # another process has it
                pass
            except OSError as error:
                self._say(f"batch jobs wait: {path} cannot be locked: {error.strerror}.")
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _LOCK_S)
        return None

    async def _look(self) -> None:
        """See what there is to do, and begin it."""
        for run, task in [*self._running.values()]:
            if task.done():
                del self._running[run.job.id]
                self._ending.discard(run.job.id)
                await self._check(run, task)
        try:
            unfinished, used_bytes = await asyncio.to_thread(self._read)
        except StorageError as error:
            self._say(str(error))
            return
        stored = {job.id: job for job in unfinished}
        for run, task in self._running.values():
            job, found = run.job, stored.get(run.job.id)
            over = found and (found.status == "cancelling" or records.expired(found, now()))
            ends_it = job.status == "cancelling" or job.id in self._ending
            if over and not ends_it and not task.cancelling():
                task.cancel()
        if not self._draining():
            self._begin(unfinished)
        self._measure(unfinished, used_bytes)

    def _read(self) -> tuple[list[Job], int]:
        """Jobs that have not ended, and the bytes of all files."""
        if time.monotonic() - self._swept > min(_SWEEP_S, self._shelf.settings.data_days * DAY_S):
            self._shelf.files.sweep()
            self._shelf.jobs.sweep()
            self._swept = time.monotonic()
        return self._shelf.jobs.unfinished(), self._shelf.files.used_bytes()

    def _measure(self, unfinished: list[Job], used_bytes: int) -> None:
        """Show what there is to do."""
        metrics, states = self._shelf.metrics, Counter(map(self._state, unfinished))
        for state in JOB_STATES:
            metrics.jobs.labels(state).set(states[state])
        metrics.lines_waiting.set(
            sum(job.total - job.progress.lines for job in unfinished if job.status == "in_progress")
        )
        metrics.data_bytes.set(used_bytes)

    def _state(self, job: Job) -> str:
        """What a job is at, one of JOB_STATES."""
        if job.id in self._running:
            return "waiting" if self._running[job.id][0].waiting else job.status
        return "waiting" if self._waits(job) else "queued"

    def _waits(self, job: Job) -> bool:
        return self._not_before.get(job.id, 0.0) > time.monotonic()

    def _begin(self, unfinished: list[Job]) -> None:
        """The oldest job of each owner, if it is not under way."""
        owners = {run.job.owner for run, _ in self._running.values()}
        for job in unfinished:
            # What is left to do for these is done at once.
            quick = job.status in ("cancelling", "finalizing")
            if job.id in self._running or self._waits(job) or (job.owner in owners and not quick):
                continue
            if len(self._running) >= MOST_JOBS and not quick:
                continue
            owners.add(job.owner)
            if records.expired(job, now()):
                self._ending.add(job.id)
            run = JobRun(job, self._shelf, self._sender, self._room, self._stopping)
            if job.status == "in_progress":
                log.info("%s goes on: %s", job.id, said(job))
            task = asyncio.create_task(run.run())
            task.add_done_callback(lambda _: self.wake())
            self._running[job.id] = run, task

    def _room(self) -> int:
        """Inputs that each job may have under way."""
        return self._shelf.settings.batch_job_inputs // max(len(self._running), 1)

    def _stopping(self) -> bool:
        return self._stopped or self._draining()

    async def _check(self, run: JobRun, task: asyncio.Task[None]) -> None:
        """Look at how the work on a job ended."""
        job = run.job
        if task.cancelled():
            return
        error = task.exception()
        if error is None or isinstance(error, SupersededError):
            self._not_before.pop(job.id, None)
        elif isinstance(error, StorageError):
            self._say(f"{job.id} waits: {error}")
            self._not_before[job.id] = time.monotonic() + STORAGE_S
            await run.note(error)
        elif isinstance(error, DamagedOutputError):
            log.error("%s fails: %s", job.id, error)
            await self._fail(job.id, Fault("output_damaged", str(error)))
        else:
            log.error("%s cannot be worked on", job.id, exc_info=error)
            fault = Fault("internal_error", "internal error; the log has its trace.")
            await self._fail(job.id, fault)

    async def _fail(self, job_id: str, fault: Fault) -> None:
        """Have a job fail; where that cannot be written, it is worked on again and ends so."""
        with contextlib.suppress(StorageError):
            await asyncio.to_thread(self._write_failed, job_id, fault)

    def _write_failed(self, job_id: str, fault: Fault) -> None:
        """List the files of a job that cannot be worked on, and have it fail: both, or neither."""
        shelf = self._shelf

        def change(job: Job) -> Job | None:
            if not job.unfinished:
                return None
            return records.failed(of_what_is_left(shelf.store, job), (fault,), now())

        with shelf.store.transaction():
            failed = shelf.jobs.change(job_id, change)
            if failed is None:
                return
            JobOutput(shelf.store, failed).close()  # without what was not committed
            shelf.files.add(shelf.files.written(failed))
        shelf.metrics.ended.labels("failed").inc()
        with writing():
            discard_empty(shelf.store, failed)

    def _say(self, sentence: str, trace: Exception | None = None) -> None:
        """Log a sentence, unless it was the last one."""
        if sentence != self._said:
            log.error("%s", sentence, exc_info=trace)
        self._said = sentence

    async def _end(self) -> None:
        """Let jobs write what is answered within a few seconds."""
        tasks = {task for _, task in self._running.values()}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_END_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _locked(path: Path) -> int:
    """The descriptor of a file that this process alone has locked.

    Raises:
        BlockingIOError: another one has.
        OSError: it cannot be opened or locked.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
