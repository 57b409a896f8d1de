"""Reading: a file of texts -> parts of it, each a bounded number of texts with their ids.

A part is one row of a Ray dataset, so that work is shared out by text and not by file, and what is
left out stays beside what is not. A row that cannot be read is in its part's failures.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from model.corpus.errors import CorpusError
from model.corpus.filesystems import FILE_ERRORS, reason
from model.corpus.folders import InputFile
from model.corpus.options import Columns, PartSize
from model.records import (
    DEFAULT_ID_FIELD,
    Id,
    LineError,
    ParsedRecord,
    RecordsError,
    id_of,
    read_opened,
    require,
    text_of,
)

_READ_ROWS = 1024
_SECOND_NS = 10**9

# One row is one part: of file number `file` the part number `part`, which may be the `last` one.
# `failed` are JSON objects; `broken` is why the file could not be read on.
PART = {"file": pa.int64(), "part": pa.int64(), "last": pa.bool_(), "broken": pa.string()}
FAILED = {"failed": pa.list_(pa.string())}
TEXTS = {
    "ids": pa.list_(pa.string()),
    "rows": pa.list_(pa.int64()),
    "texts": pa.list_(pa.large_string()),
}
SCHEMA = pa.schema([*PART.items(), *FAILED.items(), *TEXTS.items()])


@dataclass(slots=True)
class _Part:
    ids: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    characters: int = 0

    def full(self, size: PartSize) -> bool:
        texts = len(self.ids) + len(self.failed)
        return self.characters >= size.characters or texts >= size.texts


def failure(row: int, name: Id | None, sentence: str, line: int | None = None) -> str:
    """A row that is left out, as a line of the file of failures."""
    place = {"row": row} if line is None else {"row": row, "line": line}
    return json.dumps({**place, "id": name, "error": sentence}, ensure_ascii=False)


def read_parts(
    index: int, file: InputFile, filesystem: Any, columns: Columns, size: PartSize
) -> Iterator[Any]:
    """The parts of file number `index` in their order, as tables of one row.

    The last part says so. A file that cannot be read to its end, or that changed meanwhile, has a
    last part that is `broken`.
    """
    part, number = _Part(), 0
    try:
        for row, found in enumerate(_records(file, filesystem, columns)):
            _add(part, row, found, file, columns)
            if part.full(size):
                yield _table(index, number, part)
                part, number = _Part(), number + 1
        broken = _changed(file, filesystem)
    except (CorpusError, RecordsError, *FILE_ERRORS) as error:
        broken = f"{file.path}: {reason(error)}"
    yield _table(index, number, part, last=True, broken=broken)


def has_columns(file: InputFile, filesystem: Any, columns: Columns) -> bool:
    """Whether the file has a row; if so, that row has the columns.

    Raises:
        CorpusError: there is no such column.
    """
    try:
        for found in _records(file, filesystem, columns):
            if isinstance(found, ParsedRecord):
                require(found, columns.text, "--column")
                if columns.id is not None:
                    require(found, columns.id, "--id-column")
                return True
    except (CorpusError, LineError) as error:
        raise CorpusError(f"{file.path}: {error}") from None
    except (RecordsError, *FILE_ERRORS):  # which the run reports, and goes on with other files
        return False
    return False


def _changed(file: InputFile, filesystem: Any) -> str | None:
    info = filesystem.get_file_info(file.path)
    # An object store says milliseconds in a list of files, and of one alone whole seconds (HTTP).
    times = file.mtime_ns, file.mtime_ns // _SECOND_NS * _SECOND_NS
    if info.size == file.size and (info.mtime_ns or 0) in times:
        return None
    return f"{file.path} changed while it was read"


def _records(
    file: InputFile, filesystem: Any, columns: Columns
) -> Iterator[ParsedRecord | LineError]:
    """The file's rows, as model.records gives them; of Parquet the line is the row from 1."""
    if not file.is_parquet:
        # pyarrow would unpack by the name's ending, too, and not read lines.
        def opening() -> BinaryIO:
            raw = filesystem.open_input_stream(file.path, compression=None)
            return cast(BinaryIO, io.BufferedReader(raw))

        yield from read_opened(opening, file.path, "jsonl")
        return
    line = 0
    with filesystem.open_input_file(file.path) as opened:
        parquet = pq.ParquetFile(opened)
        names = _present(parquet.schema_arrow, columns)
        for batch in parquet.iter_batches(_READ_ROWS, columns=names):
            for fields in batch.to_pylist():
                line += 1
                yield ParsedRecord(line, fields)


def _present(schema: Any, columns: Columns) -> list[str]:
    """The columns to read of a Parquet file: its texts, and its ids if it has such.

    Raises:
        CorpusError: there is no such column, or it is of another type.
    """
    texts = [each.name for each in schema if _is_text(each.type)]
    if columns.text not in texts:
        there = ", ".join(map(repr, texts)) or "none"
        raise CorpusError(
            f"no column {columns.text!r} of texts; there is {there}: name one with --column."
        )
    name = columns.id or DEFAULT_ID_FIELD
    for each in (columns.text, name):
        if schema.names.count(each) > 1:
            raise CorpusError(
                f"{schema.names.count(each)} columns have the name {each!r}; give each its own."
            )
    if name not in schema.names:
        if columns.id is not None:
            raise CorpusError(f"no column {name!r}; name one with --id-column.")
        return [columns.text]
    kind = schema.field(name).type
    if not (_is_text(kind) or pa.types.is_integer(kind)):
        raise CorpusError(
            f"the column {name!r} is {kind}; ids are texts or whole numbers: name another column "
            "with --id-column."
        )
    return [columns.text, name]


def _is_text(kind: Any) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _add(
    part: _Part,
    row: int,
    found: ParsedRecord | LineError,
    file: InputFile,
    columns: Columns,
) -> None:
    """Add a row to a part, or to its failures."""
    line = None if file.is_parquet else found.line
    name: Id | None = None
    try:
        if isinstance(found, LineError):
            raise found
        name = _id(found, columns.id)
        require(found, columns.text, "--column")
        text = text_of(found, columns.text, blank=True)
    except LineError as error:
        part.failed.append(failure(row, name, error.sentence, line))
        return
    # A row's number alone would be that of other files' rows, too.
    part.ids.append(f"{PurePosixPath(file.name)}:{row}" if name is None else str(name))
    part.rows.append(row)
    part.texts.append(text)
    part.characters += len(text)


def _id(found: ParsedRecord, column: str | None) -> Id | None:
    if column is None and found.fields.get(DEFAULT_ID_FIELD) is None:
        return None
    require(found, column or DEFAULT_ID_FIELD, "--id-column")
    return id_of(found, column or DEFAULT_ID_FIELD)


def _table(
    index: int, number: int, part: _Part, *, last: bool = False, broken: str | None = None
) -> Any:
    values = (index, number, last, broken, part.failed, part.ids, part.rows, part.texts)
    return pa.table([[each] for each in values], schema=SCHEMA)
