"""The files of batch jobs: what callers uploaded and what jobs wrote, each seen by its owner only.

Promises
1. A file is listed when all of it is on the disk, and not before.
2. All files together, those that jobs are writing too, have at most the bytes that the settings
   allow, but for an upload of each process and a write of each job that end at the same time.
3. A file that an unfinished job reads is not deleted.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from app.batches.records import DAY_S, UNFINISHED, Job, StoredFile, now
from app.batches.store import Store, sync_folder, writing
from app.errors import ConflictError, NotFoundError, StorageError
from app.settings import PREFIX, Settings

# A crash leaves content that no record names; an upload that is under way does too, for a while.
_ORPHAN_S = 6 * 3600


class Upload:
    """A file that is being written: `commit` makes it one that is listed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "uploads" / secrets.token_hex(16)
        self.bytes = 0
        with writing():
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file: BinaryIO = os.fdopen(descriptor, "wb")

    def write(self, content: bytes) -> None:
        """Append some of it.

        Raises:
            StorageError: the disk does not take it.
        """
        with writing():
            self._file.write(content)
        self.bytes += len(content)

    def keep(self, path: Path) -> None:
        """Write all of it to the disk, under that name."""
        with writing():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self.path.rename(path)
            sync_folder(path.parent)

    def discard(self) -> None:
        """Delete what was written, unless it was kept."""
        with contextlib.suppress(OSError):  # what is buffered does not fit on the disk
            self._file.close()
        self.path.unlink(missing_ok=True)


class Files:
    """The files of a store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._max_bytes = settings.max_data_bytes
        self._days = settings.data_days

    def begin(self) -> Upload:
        """A file to write."""
        return Upload(self._store.folder)

    def used_bytes(self) -> int:
        """Bytes of all files, those that jobs are writing too."""
        (found,) = self._store.rows(
            "SELECT (SELECT coalesce(sum(bytes), 0) FROM files) + "
            "(SELECT coalesce(sum(bytes), 0) FROM jobs WHERE bytes > 0) AS used"
        )
        used: int = found["used"]
        return used

    def check_room(self, more: int) -> None:
        """
        Raises:
            StorageError: so many bytes more are more than the settings allow.
        """
        used = self.used_bytes()
        if used + more > self._max_bytes:
            raise StorageError(
                f"the files here have {used} bytes, and {more} more are over {PREFIX}MAX_DATA_BYTES"
                f"={self._max_bytes}. Delete files that are not needed any more (DELETE "
                "/v1/files/ID); they expire by themselves, too."
            )

    def commit(
        self, upload: Upload, owner: str, filename: str, expires_after_s: int | None = None
    ) -> StoredFile:
        """List an upload. A caller may have it expire sooner than the settings do.

        Raises:
            StorageError: it does not fit.
        """
        self.check_room(upload.bytes)
        file = self._record(f"file-{secrets.token_hex(16)}", owner, filename, upload.bytes)
        if expires_after_s is not None:
            sooner = min(file.expires_at, file.created_at + expires_after_s)
            file = msgspec.structs.replace(file, expires_at=sooner)
        path = self._store.path(file.id)
        try:
            upload.keep(path)
            self.add([file])
        except StorageError:
            path.unlink(missing_ok=True)
            raise
        return file

    def written(self, job: Job) -> list[StoredFile]:
        """The files that a job has written, those without a line left out."""
        progress, owner = job.progress, job.owner
        found = (
            (job.output_file_id, f"{job.id}_output.jsonl", progress.output_bytes),
            (job.error_file_id, f"{job.id}_errors.jsonl", progress.error_bytes),
        )
        return [
            self._record(file_id, owner, name, size, "batch_output")
            for file_id, name, size in found
            if size
        ]

    def _record(
        self, file_id: str, owner: str, filename: str, size: int, purpose: str = "batch"
    ) -> StoredFile:
        at = now()
        expires_at = int(time.time() + self._days * DAY_S)
        return StoredFile(file_id, owner, filename, size, at, expires_at, purpose)

    def add(self, files: Iterable[StoredFile]) -> None:
        """List files whose content is there; those that are listed stay as they are."""
        statement = (
            "INSERT INTO files (id, owner, bytes, expires_at, record) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO NOTHING"
        )
        with self._store.transaction() as connection:
            for file in files:
                values = (file.id, file.owner, file.bytes, file.expires_at)
                connection.execute(statement, (*values, msgspec.json.encode(file)))

    def get(self, owner: str, file_id: str) -> StoredFile:
        """A file of that owner.

        Raises:
            NotFoundError: there is none.
        """
        found = self._store.rows(
            "SELECT record FROM files WHERE id = ? AND owner = ? AND expires_at > ?",
            *(file_id, owner, now()),
        )
        if not found:
            raise NotFoundError(f"there is no file {file_id[:80]!r}, or not any more.")
        return msgspec.json.decode(found[0]["record"], type=StoredFile)

    def owned(self, owner: str) -> list[StoredFile]:
        """All files of that owner, the newest first."""
        found = self._store.rows(
            "SELECT record FROM files WHERE owner = ? AND expires_at > ? ORDER BY seq DESC",
            *(owner, now()),
        )
        return [msgspec.json.decode(each["record"], type=StoredFile) for each in found]

    def path(self, file: StoredFile) -> Path:
        """Where its content stands."""
        return self._store.path(file.id)

    def content(self, file: StoredFile) -> Path:
        """Where its content stands, which can be read and has its size.

        Raises:
            NotFoundError: it does not.
        """
        path = self.path(file)
        try:
            with path.open("rb") as content:
                found = os.fstat(content.fileno()).st_size
        except FileNotFoundError:
            raise NotFoundError(f"the content of {file.id} is not there any more.") from None
        except OSError as error:
            sentence = f"the content of {file.id} cannot be read: {error.strerror}."
            raise NotFoundError(sentence) from None
        if found != file.bytes:
            raise NotFoundError(
                f"the content of {file.id} is damaged: {found} of {file.bytes} bytes are there."
            )
        return path

    def delete(self, owner: str, file_id: str) -> None:
        """
        Raises:
            NotFoundError: there is no such file.
            ConflictError: an unfinished job reads it.
        """
        file = self.get(owner, file_id)
        with self._store.transaction() as connection:
            for job in self._unfinished():
                if job.input_file_id == file.id:
                    raise ConflictError(
                        f"{file.id} is the input of {job.id}, which is {job.status}: cancel that "
                        "first."
                    )
            connection.execute("DELETE FROM files WHERE id = ?", (file.id,))
        self.path(file).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what has expired, and what crashes have left."""
        at = now()
        with self._store.transaction() as connection:
            unfinished = self._unfinished()
            read = {job.input_file_id for job in unfinished}
            over = self._store.rows("SELECT id FROM files WHERE expires_at <= ?", at)
            gone = [each["id"] for each in over if each["id"] not in read]
            connection.executemany("DELETE FROM files WHERE id = ?", [(each,) for each in gone])
        with writing():
            self._delete_orphans(gone, unfinished, at)

    def _delete_orphans(self, gone: Iterable[str], unfinished: Iterable[Job], at: int) -> None:
        for each in gone:
            self._store.path(each).unlink(missing_ok=True)
        known = {each["id"] for each in self._store.rows("SELECT id FROM files")} | {
            file_id for job in unfinished for file_id in (job.output_file_id, job.error_file_id)
        }
        paths = [*(self._store.folder / "files").iterdir()]
        paths += (self._store.folder / "uploads").iterdir()
        for path in paths:
            with contextlib.suppress(FileNotFoundError):  # an upload that has just ended
                if path.name not in known and path.stat().st_mtime < at - _ORPHAN_S:
                    path.unlink(missing_ok=True)

    def _unfinished(self) -> list[Job]:
        return unfinished_jobs(self._store)


def unfinished_jobs(store: Store) -> list[Job]:
    """Jobs that a runner still has to do something for, the oldest first."""
    found = store.rows(
        "SELECT record FROM jobs WHERE status IN (?, ?, ?, ?) ORDER BY seq", *UNFINISHED
    )
    return [msgspec.json.decode(each["record"], type=Job) for each in found]
