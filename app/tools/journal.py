"""The journal: the answers of an unfinished run so far, in the order of the input.

Promises
1. An entry, which is a whole batch, is on disk when `append` returns, or it is not in the journal:
   an incomplete last entry is cut off when the journal is opened again.
2. A run of other options or of another input does not continue it.
3. Two runs do not write it at once.

    {"journal": 1, "run": {...}}\\n                    which run this is
    {"records": 64, "ids": [...], ...}\\n<vectors>     an entry: a line, then (ids, D) raw float32
    {"end": true, ...}\\n                              every record of the input has an entry
"""

import errno
import fcntl
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from app.tools.output_path import resolved
from app.tools.tool_errors import ToolError
from model.records import Id
from model.rows import Vectors

_VERSION = 1
_BEGINNING = b'{"journal":'


@dataclass(frozen=True, slots=True)
class Entry:
    """The answer to one batch.

    `records` counts those of the input, `ids` and `vectors` (ids, D) are of those that were
    answered, `failed` has an object for each of the others. `ids_given` says that an id came from
    the input and is not a record's number; `served` are fields of the service's GET /info. Where
    records are documents, `chunks` has the details of each vector's chunk. `space` is the embedding
    space of the vectors, if the service says it.
    """

    records: int
    ids: list[Id]
    vectors: Vectors
    tokens: int = 0
    ids_given: bool = False
    failed: list[dict[str, Any]] = field(default_factory=list)
    served: dict[str, Any] = field(default_factory=dict)
    end: bool = False
    chunks: list[dict[str, Any]] | None = None
    space: str | None = None


@dataclass(slots=True)
class Totals:
    """Sums over all entries; `dimensions` is 0 as long as there is no vector, `space` that of the
    vectors."""

    records: int = 0
    vectors: int = 0
    tokens: int = 0
    failed: int = 0
    dimensions: int = 0
    ids_given: bool = False
    chunked: bool = False
    served: dict[str, Any] | None = None
    ended: bool = False
    space: str | None = None

    def add(self, entry: Entry) -> None:
        """Count one more entry.

        Raises:
            ToolError: its vectors have another size than those before.
        """
        dimensions = entry.vectors.shape[1] if len(entry.ids) else self.dimensions
        if self.dimensions not in (0, dimensions):
            raise ToolError(
                f"a vector has {dimensions} dimensions; those before have {self.dimensions}."
            )
        self.dimensions, self.served, self.ended = dimensions, entry.served, entry.end
        self.records += entry.records
        self.vectors += len(entry.ids)
        self.tokens += entry.tokens
        self.failed += len(entry.failed)
        self.ids_given |= entry.ids_given
        self.chunked |= entry.chunks is not None
        self.space = entry.space or self.space


class Journal:
    """The open journal of one run; `totals` are the sums of its entries."""

    def __init__(self, path: Path, run: dict[str, Any], *, restart: bool = False) -> None:
        """Open or begin the journal of `run`, a flat object; `restart` discards its entries.

        Raises:
            ToolError: it is of another run, is being written by one, or cannot be written.
        """
        self.path = path = resolved(path)
        self.totals = Totals()
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ToolError(f"cannot write {path}: {error.strerror}.") from None
        self._descriptor, self._size = descriptor, 0
        try:
            self._open(run, restart=restart)
        except BaseException:
            self.close()
            raise

    def _open(self, run: dict[str, Any], *, restart: bool) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ToolError(f"another run is writing {self.path}.") from None
        with self._reader() as file:
            line = b"" if restart else file.readline()
            # A crash may have cut off the first line, when there was nothing to keep yet.
            fresh = not line.endswith(b"\n") and _BEGINNING.startswith(line[: len(_BEGINNING)])
            if not fresh:
                _check_same(self.path, _object(line) or {}, run)
                self._size = file.tell()
                for entry in _entries(file):
                    self.totals.add(entry)
                    self._size = file.tell()
        os.ftruncate(self._descriptor, self._size)
        if fresh:
            self._write(orjson.dumps({"journal": _VERSION, "run": run}) + b"\n")
            sync_folder(self.path)

    def _reader(self) -> BinaryIO:
        """The file from its beginning; a new reader each time, since its buffer gets stale."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return open(self._descriptor, "rb", closefd=False)

    def append(self, entry: Entry) -> None:
        """Write `entry` after the others, and wait until it is on disk.

        Raises:
            ToolError: it does not fit those before; nothing is written.
        """
        totals = replace(self.totals)
        totals.add(entry)
        vectors = np.ascontiguousarray(entry.vectors, dtype="<f4").tobytes()
        head = {each.name: getattr(entry, each.name) for each in fields(Entry)}
        head |= {"dimensions": entry.vectors.shape[1], "crc": zlib.crc32(vectors)}
        del head["vectors"]
        self._write(orjson.dumps(head) + b"\n" + vectors)
        self.totals = totals

    def _write(self, content: bytes) -> None:
        rest = memoryview(content)
        try:
            while rest:
                written = os.pwrite(self._descriptor, rest, self._size)
                rest, self._size = rest[written:], self._size + written
            os.fsync(self._descriptor)
        except OSError as error:
            raise ToolError(f"cannot write {self.path}: {error.strerror}.") from None

    def entries(self) -> Iterator[Entry]:
        """All entries, one in memory at a time. Nothing may be appended meanwhile.

        Raises:
            ToolError: it does not read back as it was written.
        """
        records = 0
        with self._reader() as file:
            file.readline()
            for entry in _entries(file):
                records += entry.records
                yield entry
        if records != self.totals.records:
            raise ToolError(f"{self.path} was damaged; --restart starts over.")

    def close(self) -> None:
        """Close it and release the lock; the file stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Close and remove it."""
        self.path.unlink(missing_ok=True)
        self.close()


def sync_folder(path: Path) -> None:
    """Write the name of a new or renamed file to the disk."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the filesystem cannot, as shared folders of VirtualBox
            raise
    finally:
        os.close(folder)


def _check_same(path: Path, head: dict[str, Any], run: dict[str, Any]) -> None:
    before = head.get("run")
    if head.get("journal") != _VERSION or not isinstance(before, dict):
        raise ToolError(f"{path} is no journal of this version; --restart overwrites it.")
    changes = [
        f"{name} was {before.get(name)}, now it is {run.get(name)}"
        for name in dict.fromkeys((*before, *run))
        if before.get(name) != run.get(name)
    ]
    if changes:
        raise ToolError(
            f"{path} is of another run: {'; '.join(changes)}. Repeat that run, or start over with "
            "--restart."
        )


def _object(line: bytes) -> dict[str, Any] | None:
    """The object on a line, or None if the line is cut off."""
    if not line.endswith(b"\n"):
        return None
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _entries(file: BinaryIO) -> Iterator[Entry]:
    """The following entries, up to the end or to one that a crash has cut off."""
    while head := _object(file.readline()):
        rows, dimensions, crc = len(head["ids"]), head.pop("dimensions"), head.pop("crc")
        content = file.read(rows * dimensions * 4)
        if len(content) < rows * dimensions * 4 or zlib.crc32(content) != crc:
            return
        yield Entry(vectors=np.frombuffer(content, "<f4").reshape(rows, dimensions), **head)
