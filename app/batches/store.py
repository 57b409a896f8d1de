"""The store: one SQLite database in WAL mode, and a folder of files beside it.

Promises
1. What a transaction has committed is there after the end of any process and of the machine, and
   all of it is, or nothing.
2. A process may use the store from several threads, and several processes may use it at once. The
   folder is on a local disk: SQLite's locks and WAL need one.
3. What cannot be written is a StorageError, whose sentence says why and what to do.
4. What callers sent and were answered is read by the user of the process alone, also in a folder
   that others may open.

    jobs.sqlite     files and jobs, a record of JSON each
    files/ID        the content of a file, also of one that a job is writing
    uploads/        what is being uploaded
    runner.lock     locked by the one runner
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.errors import StorageError
from app.settings import PREFIX, SettingsError

_VERSION = 2
# How long a writer waits for another process's transaction, each of which takes milliseconds.
_BUSY_S = 30.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL,
    bytes INTEGER NOT NULL, expires_at INTEGER NOT NULL, record BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL,
    status TEXT NOT NULL, created_at INTEGER NOT NULL, record BLOB NOT NULL,
    bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status);
CREATE INDEX IF NOT EXISTS files_by_bytes ON files (bytes);
CREATE INDEX IF NOT EXISTS jobs_by_bytes ON jobs (bytes) WHERE bytes > 0;
"""
_BYTES_OF_JOBS = "ALTER TABLE jobs ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0"


class Store:
    """The open store of one process."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            SettingsError: the folder cannot be used.
        """
        self.folder = folder
        self._lock = threading.RLock()
        try:
            for each in (folder, folder / "files", folder / "uploads"):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            database = folder / "jobs.sqlite"
            database.touch(mode=0o600)  # SQLite gives its -wal and -shm the same mode
            self._connection = sqlite3.connect(
                database,
                timeout=_BUSY_S,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection.row_factory = sqlite3.Row
            with _alone_in(folder):
                self._prepare()
        except (OSError, sqlite3.Error, StorageError) as error:
            cause = error.__cause__ or error  # of what a transaction could not write
            reason = cause.strerror if isinstance(cause, OSError) else cause
            raise SettingsError(f"{PREFIX}DATA_DIR={folder} cannot be used: {reason}.") from None

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self.transaction() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, 1, _VERSION):
                raise SettingsError(
                    f"{PREFIX}DATA_DIR={self.folder} was written by another version of Quintet."
                )
            if version == 1:  # what jobs have written counts from their next lines on
                connection.execute(_BYTES_OF_JOBS)
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            if version != _VERSION:  # else nothing is written, which a full disk would not take
                connection.execute(f"PRAGMA user_version = {_VERSION}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A block whose changes are committed together at its end, or not at all; within another
        such block, with those of that one.

        Raises:
            StorageError: they cannot be written.
        """
        with self._lock, writing():
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, statement: str, *values: object) -> list[Any]:
        """What a SELECT finds."""
        with self._lock, writing():
            return self._connection.execute(statement, values).fetchall()

    def path(self, file_id: str) -> Path:
        """Where the content of a file stands."""
        return self.folder / "files" / file_id

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            self._connection.close()


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Exclude other processes that open the folder: SQLite does not wait, but fails, where another
    one is turning on the WAL of a new database."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """A block that writes into the folder.

    Raises:
        StorageError: the disk is full, or does not take what is written.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(_sentence(str(error))) from error
    except OSError as error:
        raise StorageError(_sentence(error.strerror or str(error))) from error


def _sentence(reason: str) -> str:
    return (
        f"nothing can be written into {PREFIX}DATA_DIR: {reason}. Delete files that are not needed "
        "any more (DELETE /v1/files/ID), or have whoever runs the service make room."
    )


def sync_folder(path: Path) -> None:
    """Write the names in a folder to the disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
