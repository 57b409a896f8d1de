"""The batch jobs: made, listed and cancelled by their owners, changed by the runner.

Promise: a change is one transaction on the job as it is at that moment, so that a cancellation and
the runner's progress never overwrite each other.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from app.batches import records
from app.batches.files import Files, unfinished_jobs
from app.batches.records import DAY_S, UNFINISHED, Job, StoredFile, now
from app.batches.store import Store
from app.errors import ConflictError, NotFoundError, TooManyJobsError
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a caller asks for."""

    endpoint: str
    window_s: int = DAY_S
    completion_window: str = "24h"
    metadata: dict[str, str] | None = None
    template: dict[str, Any] | None = None


class Jobs:
    """The jobs of a store."""

    def __init__(self, store: Store, files: Files, settings: Settings) -> None:
        self._store = store
        self._files = files
        self._days = settings.data_days
        self._most = settings.max_batch_jobs

    def check_room(self, owner: str) -> None:
        """
        Raises:
            TooManyJobsError: that owner has as many unfinished jobs as the settings allow.
        """
        ((unfinished,),) = self._store.rows(
            "SELECT count(*) FROM jobs WHERE owner = ? AND status IN (?, ?, ?, ?)",
            *(owner, *UNFINISHED),
        )
        if unfinished >= self._most:
            raise TooManyJobsError(unfinished, self._most)

    def create(self, file: StoredFile, asked: NewJob, address: str) -> Job:
        """A new job for that file, asked for from that address.

        Raises:
            TooManyJobsError: its owner has too many.
            NotFoundError: the file has been deleted.
        """
        name, at = secrets.token_hex(16), now()
        job = Job(
            id=f"batch_{name}",
            owner=file.owner,
            address=address,
            endpoint=asked.endpoint,
            input_file_id=file.id,
            output_file_id=f"file-{name}-output",
            error_file_id=f"file-{name}-errors",
            window_s=asked.window_s,
            completion_window=asked.completion_window,
            created_at=at,
            expires_at=at + asked.window_s,
            metadata=asked.metadata,
            template=asked.template,
        )
        statement = (
            "INSERT INTO jobs (id, owner, status, created_at, record) VALUES (?, ?, ?, ?, ?)"
        )
        with self._store.transaction() as connection:
            self.check_room(job.owner)
            values = (job.id, job.owner, job.status, at, msgspec.json.encode(job))
            connection.execute(statement, values)
            # It may have been deleted since it was looked up.
            kept = connection.execute("SELECT 1 FROM files WHERE id = ?", (file.id,)).fetchone()
            if kept is None:
                raise NotFoundError(f"there is no file {file.id!r} any more.")
        return job

    def get(self, owner: str, job_id: str) -> Job:
        """A job of that owner.

        Raises:
            NotFoundError: there is none.
        """
        found = self._store.rows(
            "SELECT record FROM jobs WHERE id = ? AND owner = ?", job_id, owner
        )
        if not found:
            raise NotFoundError(f"there is no batch job {job_id[:80]!r}, or not any more.")
        return msgspec.json.decode(found[0]["record"], type=Job)

    def page(self, owner: str, after: str | None, limit: int) -> list[Job]:
        """So many jobs of that owner, the newest first, those behind the job `after`.

        Raises:
            NotFoundError: there is no job `after`.
        """
        if after is None:
            found = self._store.rows(
                "SELECT record FROM jobs WHERE owner = ? ORDER BY seq DESC LIMIT ?", owner, limit
            )
        else:
            self.get(owner, after)
            found = self._store.rows(
                "SELECT record FROM jobs WHERE owner = ? AND seq < "
                "(SELECT seq FROM jobs WHERE id = ?) ORDER BY seq DESC LIMIT ?",
                *(owner, after, limit),
            )
        return [msgspec.json.decode(each["record"], type=Job) for each in found]

    def cancel(self, owner: str, job_id: str) -> Job:
        """Have a job end as soon as the runner sees it; one that has been cancelled stays so.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it has ended, or is about to.
        """
        job = self.get(owner, job_id)
        changed = self.change(job.id, lambda job: records.cancelling(job, now()))
        if changed is None:
            status = self.get(owner, job_id).status
            raise ConflictError(f"{job_id} is {status}: there is nothing to cancel.")
        return changed

    def unfinished(self) -> list[Job]:
        """Jobs that a runner still has to do something for, the oldest first."""
        return unfinished_jobs(self._store)

    def change(self, job_id: str, change: Callable[[Job], Job | None]) -> Job | None:
        """What a job has become; None where `change` gives None, or there is no such job."""
        with self._store.transaction() as connection:
            found = connection.execute("SELECT record FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if found is None:
                return None
            changed = change(msgspec.json.decode(found["record"], type=Job))
            if changed is not None:
                record = msgspec.json.encode(changed)
                connection.execute(
                    "UPDATE jobs SET status = ?, bytes = ?, record = ? WHERE id = ?",
                    (changed.status, changed.unlisted_bytes, record, job_id),
                )
            return changed

    def sweep(self) -> None:
        """Delete jobs that ended long ago. Their windows may be longer than that."""
        before = now() - self._days * DAY_S
        with self._store.transaction() as connection:
            found = connection.execute(
                "SELECT record FROM jobs WHERE created_at < ? AND status NOT IN (?, ?, ?, ?)",
                (before, *UNFINISHED),
            )
            made = [msgspec.json.decode(each["record"], type=Job) for each in found]
            gone = [(job.id,) for job in made if (job.ended_at or job.created_at) < before]
            connection.executemany("DELETE FROM jobs WHERE id = ?", gone)
