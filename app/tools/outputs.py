"""Outputs: a journal -> JSONL, Parquet or .npy, whole under its name or not at all.

n vectors of D dimensions, in the order of the input.
"""

import importlib.util
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import orjson

from app.tools.errors import ToolError
from app.tools.journal import Journal, sync_folder
from model.extras import how_to_install

DEFAULT_FORMAT = "jsonl"
_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".npy": "npy"}
# Rows of one group in a Parquet file: at full width some 32 MiB, which is what readers like.
_GROUP_ROWS = 8192


def beside(output: Path, ending: str) -> Path:
    """The file that stands beside `output`: out.npy and .ids.jsonl give out.npy.ids.jsonl."""
    return output.with_name(output.name + ending)


def chosen_format(output: Path, asked: str | None) -> str:
    """The format asked for, or the one of the ending, or JSONL.

    Raises:
        ToolError: it needs a package that is not installed.
    """
    chosen = asked or _FORMATS.get(output.suffix.lower(), DEFAULT_FORMAT)
    if chosen == "parquet" and importlib.util.find_spec("pyarrow") is None:
        how = how_to_install("parquet")
        raise ToolError(f"Parquet needs pyarrow; write .jsonl or .npy, or install it: {how}")
    return chosen


def write(journal: Journal, output: Path, chosen: str, width: int) -> None:
    """Write `output`, and beside it the failed records (.errors.jsonl) and, for .npy, the ids.

    `width` is D where there is no vector to tell. `output` comes last: when it is there, all is.

    Raises:
        ToolError: a file cannot be written.
    """
    totals = journal.totals
    writers: dict[Path, Callable[[Journal, BinaryIO, int], None] | None] = {
        beside(output, ".errors.jsonl"): _write_failed if totals.failed else None,
        beside(output, ".ids.jsonl"): _write_ids if chosen == "npy" and totals.ids_given else None,
        output: WRITERS[chosen],
    }
    for path, writer in writers.items():
        try:
            _replace(path, writer, journal, totals.dimensions or width)
        except OSError as error:
            raise ToolError(f"cannot write {path}: {error.strerror}.") from None


def _replace(
    path: Path,
    writer: Callable[[Journal, BinaryIO, int], None] | None,
    journal: Journal,
    dimensions: int,
) -> None:
    """Put a whole file in the place of what is at `path`; without a writer only take that away."""
    if writer is None:
        path.unlink(missing_ok=True)
        return
    unfinished = beside(path, ".unfinished")
    try:
        with unfinished.open("wb") as file:
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
    """{"id", "embedding"} a line; float32 with the fewest digits that read back as the same."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    for entry in journal.entries():
        file.writelines(
            orjson.dumps({"id": name, "embedding": vector}, option=options)
            for name, vector in zip(entry.ids, entry.vectors, strict=True)
        )


def _write_npy(journal: Journal, file: BinaryIO, dimensions: int) -> None:
    """(n, D) little-endian float32."""
    shape = (journal.totals.vectors, dimensions)
    head = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)
    file.writelines(entry.vectors.tobytes() for entry in journal.entries())


def _write_parquet(journal: Journal, file: BinaryIO, dimensions: int) -> None:
    """Columns `id` (string) and `embedding` (fixed-size list of D float32)."""
    import pyarrow as pa  # noqa: PLC0415  (an optional dependency)
    import pyarrow.parquet  # noqa: PLC0415

    schema = pa.schema(
        [("id", pa.string()), ("embedding", pa.list_(pa.float32(), max(1, dimensions)))]
    )
    ids: list[str] = []
    parts: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []

    def write_group() -> None:
        numbers = np.concatenate([part.reshape(-1) for part in parts])
        embedding = pa.FixedSizeListArray.from_arrays(
            pa.array(numbers, pa.float32()), type=schema.field("embedding").type
        )
        columns = [pa.array(ids, pa.string()), embedding]
        parquet.write_batch(pa.record_batch(columns, schema=schema))
        ids.clear()
        parts.clear()

    with pa.parquet.ParquetWriter(file, schema) as parquet:
        for entry in journal.entries():
            ids += map(str, entry.ids)
            parts.append(entry.vectors)
            if len(ids) >= _GROUP_ROWS:
                write_group()
        if ids:
            write_group()


def _write_ids(journal: Journal, file: BinaryIO, _: int) -> None:
    """The id of each row, a JSON value a line: an id may have a line end in it."""
    for entry in journal.entries():
        file.writelines(orjson.dumps(name) + b"\n" for name in entry.ids)


def _write_failed(journal: Journal, file: BinaryIO, _: int) -> None:
    """The failed records with what was said of them."""
    for entry in journal.entries():
        file.writelines(orjson.dumps(record) + b"\n" for record in entry.failed)


WRITERS: dict[str, Callable[[Journal, BinaryIO, int], None]] = {
    "jsonl": _write_jsonl,
    "npy": _write_npy,
    "parquet": _write_parquet,
}
