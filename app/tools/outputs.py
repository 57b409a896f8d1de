"""Write vectors as JSONL, Parquet or .npy.

A file is written from the journal, and appears whole under its name or not at all. A stream takes
entries as they come, in JSONL. output_path.py tells the two apart.

n vectors of D dimensions, in the order of the input.
"""

import importlib.util
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from app.tools.journal import Entry, Journal, Totals, sync_folder
from app.tools.output_path import STANDARD_OUTPUT, UNFINISHED, beside, is_stream, resolved
from app.tools.tool_errors import ToolError
from model.extras import how_to_install
from model.waiting_file import WaitingFile

DEFAULT_FORMAT = "jsonl"
_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".npy": "npy"}


def chosen_format(output: Path, asked: str | None) -> str:
    """The format asked for, or the one of the ending; without an ending, and in a stream, JSONL.

    Raises:
        ToolError: the ending is none that is known, a stream cannot have the format, or it needs a
            package that is not installed.
    """
    ending = output.suffix.lower()
    chosen = asked or _FORMATS.get(ending, DEFAULT_FORMAT)
    if is_stream(output):
        if chosen != DEFAULT_FORMAT:
            # Both have their counts in front, and .npy its ids beside it.
            raise ToolError(f"{output} is a stream, which takes JSONL; name a file for {chosen}.")
        return chosen
    if asked is None and ending and ending not in _FORMATS:
        raise ToolError(
            f"{output}: {ending} is none of {' '.join(_FORMATS)}; name one of these, or say with "
            "--format what to write."
        )
    if chosen == "parquet" and importlib.util.find_spec("pyarrow") is None:
        how = how_to_install("parquet")
        raise ToolError(f"Parquet needs pyarrow; write .jsonl or .npy, or install it: {how}")
    return chosen


class StreamOutput:
    """A stream that takes entries as a Journal does, and writes their vectors immediately."""

    def __init__(self, output: Path) -> None:
        """Open the stream; a FIFO only when something reads it.

        Raises:
            ToolError: it cannot be opened.
        """
        standard = str(output) == STANDARD_OUTPUT
        self.name = "standard output" if standard else str(output)
        self.totals = Totals()
        try:
            # At the end: `>> out.jsonl` with /dev/stdout opens a file that has something in it.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY
            descriptor = os.dup(1) if standard else os.open(output, flags)
            self._file = WaitingFile(descriptor, "wb")
        except OSError as error:
            raise ToolError(f"cannot write {self.name}: {error.strerror}.") from None

    def append(self, entry: Entry) -> None:
        """Write the vectors of `entry` after the others, which waits for room in a pipe.

        Raises:
            ToolError: they do not fit those before, or cannot be written.
        """
        totals = replace(self.totals)
        totals.add(entry)
        rest = memoryview(b"".join(_jsonl(entry)))
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BrokenPipeError:
            raise ToolError(f"whoever read {self.name} does not read on.") from None
        except OSError as error:
            raise ToolError(f"cannot write {self.name}: {error.strerror}.") from None
        self.totals = totals

    def close(self) -> None:
        """Close it."""
        self._file.close()


def write(journal: Journal, output: Path, chosen: str, width: int) -> None:
    """Write `output`, and beside it the failed records (.errors.jsonl) and, for .npy, the ids and
    the embedding space.

    `width` is D where there is no vector. `output` is written last: when it exists, all do.
    Links are followed, and kept.

    Raises:
        ToolError: a file cannot be written.
    """
    totals, output = journal.totals, resolved(output)
    writers: dict[Path, Callable[[Journal, BinaryIO, int], None] | None] = {
        beside(output, ".errors.jsonl"): _write_failed if totals.failed else None,
        beside(output, ".ids.jsonl"): _write_ids if chosen == "npy" and totals.ids_given else None,
        beside(output, ".space.txt"): _write_space if chosen == "npy" and totals.space else None,
        output: WRITERS[chosen],
    }
    for path, writer in writers.items():
        try:
            _replace(resolved(path), writer, journal, totals.dimensions or width)
        except OSError as error:
            raise ToolError(f"cannot write {path}: {error.strerror}.") from None


def _replace(
    path: Path,
    writer: Callable[[Journal, BinaryIO, int], None] | None,
    journal: Journal,
    dimensions: int,
) -> None:
    """Replace the file at `path` by a whole new one; without a writer remove it."""
    if writer is None:
        path.unlink(missing_ok=True)
        return
    unfinished = beside(path, UNFINISHED)
    unfinished.unlink(missing_ok=True)
    try:
        # "x" also refuses to follow a link that somebody put there meanwhile.
        with unfinished.open("xb") as file:
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            writer(journal, file, dimensions)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path)


def _write_jsonl(journal: Journal, file: BinaryIO, _: int) -> None:
    """One line for each vector, as `_jsonl` writes it."""
    for entry in journal.entries():
        file.writelines(_jsonl(entry))


def _jsonl(entry: Entry) -> Iterator[bytes]:
    """{"id", "embedding_space", "embedding"} a line, of a chunk "chunk", "start", "end" and "text"
    too; float32 with the fewest digits that read back as the same."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    for row, vector in zip(_rows(entry), entry.vectors, strict=True):
        yield orjson.dumps({**row, "embedding": vector}, option=options)


def _rows(entry: Entry) -> Iterator[dict[str, Any]]:
    """The columns of each vector beside it: its id, the details of its chunk, and its space if the
    service says it."""
    space = {"embedding_space": entry.space} if entry.space else {}
    for name, chunk in zip(entry.ids, entry.chunks or [{}] * len(entry.ids), strict=True):
        yield {"id": name, **chunk, **space}


def _write_npy(journal: Journal, file: BinaryIO, dimensions: int) -> None:
    """(n, D) little-endian float32."""
    shape = (journal.totals.vectors, dimensions)
    head = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)
    file.writelines(entry.vectors.tobytes() for entry in journal.entries())


def _write_parquet(journal: Journal, file: BinaryIO, dimensions: int) -> None:
    """Columns `id` (string), of chunks `chunk`, `start`, `end` (int64) and `text` (string) too,
    `embedding_space` (string), and `embedding` (fixed-size list of D float32)."""
    from model.vector_table import GroupWriter, batch_of, fields_of, schema_of  # noqa: PLC0415

    fields = fields_of(chunked=journal.totals.chunked, space=bool(journal.totals.space))
    schema = schema_of(fields, max(1, dimensions))
    with GroupWriter(file, schema) as parquet:
        for entry in journal.entries():
            rows = [{**row, "id": str(row["id"])} for row in _rows(entry)]
            if rows:
                parquet.write(batch_of(rows, entry.vectors, schema))


def _write_ids(journal: Journal, file: BinaryIO, _: int) -> None:
    """The id of each row, a JSON value a line: an id may contain a line end. Of a chunk an object
    with the id and its details."""
    for entry in journal.entries():
        rows = entry.ids if entry.chunks is None else _rows(replace(entry, space=None))
        file.writelines(orjson.dumps(each) + b"\n" for each in rows)


def _write_space(journal: Journal, file: BinaryIO, _: int) -> None:
    """The embedding space of all vectors."""
    file.write(f"{journal.totals.space}\n".encode())


def _write_failed(journal: Journal, file: BinaryIO, _: int) -> None:
    """The failed records with their errors."""
    for entry in journal.entries():
        file.writelines(orjson.dumps(record) + b"\n" for record in entry.failed)


WRITERS: dict[str, Callable[[Journal, BinaryIO, int], None]] = {
    "jsonl": _write_jsonl,
    "npy": _write_npy,
    "parquet": _write_parquet,
}
