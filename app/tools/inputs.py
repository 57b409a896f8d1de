"""Inputs: a JSONL, CSV or text file -> records -> batches, read as a stream.

Every reader yields what it found, a line and the fields that begin there; `_record` is the one
place that judges fields. Memory holds one line, or one batch.
"""

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import orjson

from app.tools.errors import ToolError

DEFAULT_ID_FIELD = "id"
# Far over what a model reads and under what a service takes; a file without line ends stops here.
LONGEST_LINE = 32 * 2**20
# A request's body stays under the service's limit, whatever the batch size.
MOST_CHARACTERS = 4_000_000
# A document's records are in memory together. A wrong --group would make the file one document.
MOST_RECORDS = 65_536

Id = str | int


@dataclass(frozen=True, slots=True)
class Fields:
    """The names of a record's fields. Without `id` it is "id", where a record has that."""

    text: str = "text"
    id: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One text. `number` counts records from 0, `line` lines from 1; `id` is None if not given."""

    number: int
    line: int
    id: Id | None
    text: str
    group: Id | None = None

    @property
    def name(self) -> Id:
        """The id, or the record's number where none was given."""
        return self.number if self.id is None else self.id

    @property
    def place(self) -> str:
        """Where it is, for a sentence."""
        given = "" if self.id is None else f"id {self.id!r}, "
        return f"record {self.number} ({given}line {self.line})"


class _Line(NamedTuple):
    number: int
    text: str


class _Found(NamedTuple):
    line: int
    fields: dict[str, Any]


def records(stream: BinaryIO, kind: str, fields: Fields) -> Iterator[Record]:
    """The records of a file of `kind`, a key of READERS.

    Raises:
        ToolError: a line is not what it must be; the sentence has its number.
    """
    for number, found in enumerate(READERS[kind](_lines(stream), fields)):
        yield _record(number, found, fields)


def batches(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """Up to `size` consecutive records each, and of no more characters than a request takes.

    A batch that is full does not wait for the next record, which may be long in coming.
    """
    batch: list[Record] = []
    characters = 0
    for record in records:
        if batch and characters + len(record.text) > MOST_CHARACTERS:
            yield batch
            batch, characters = [], 0
        batch.append(record)
        characters += len(record.text)
        if len(batch) == size:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def documents(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Consecutive records of one group each.

    Raises:
        ToolError: a group has too many records to be one document.
    """
    for group, members in itertools.groupby(records, lambda record: record.group):
        document = list(itertools.islice(members, MOST_RECORDS + 1))
        if len(document) > MOST_RECORDS:
            raise ToolError(
                f"line {document[-1].line}: the document {group!r} has more than {MOST_RECORDS} "
                "records; is --group the right field?"
            )
        yield document


def _lines(stream: BinaryIO) -> Iterator[_Line]:
    """Lines with their ends, as text. Only a line feed ends a line."""
    for number in itertools.count(1):
        line = stream.readline(LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > LONGEST_LINE:
            raise ToolError(f"line {number}: longer than {LONGEST_LINE} bytes.")
        try:
            # A byte order mark is no part of the first text.
            yield _Line(number, line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise ToolError(
                f"line {number}: byte {line[error.start]:#04x} at {error.start + 1} is not UTF-8; "
                "save the file as UTF-8."
            ) from None


def _from_jsonl(lines: Iterator[_Line], _: Fields) -> Iterator[_Found]:
    for line in lines:
        if line.text.isspace():
            continue
        try:
            found = orjson.loads(line.text)
        except orjson.JSONDecodeError as error:
            raise ToolError(
                f"line {line.number}: invalid JSON, at column {error.colno}: {error.msg}."
            ) from None
        if not isinstance(found, dict):
            raise ToolError(f"line {line.number}: must be an object, not {_kind(found)}.")
        yield _Found(line.number, found)


def _from_csv(lines: Iterator[_Line], _: Fields) -> Iterator[_Found]:
    csv.field_size_limit(LONGEST_LINE)
    rows = _csv_rows(lines)
    header = next(rows, (1, []))[1]
    for name in header:
        if header.count(name) > 1:
            raise ToolError(f"line 1: two columns have the name {name!r}.")
    for line, row in rows:
        if row and len(row) != len(header):
            raise ToolError(f"line {line}: {_count(row)}, but the header has {len(header)}.")
        if row:
            yield _Found(line, dict(zip(header, row, strict=True)))


def _csv_rows(lines: Iterator[_Line]) -> Iterator[tuple[int, list[str]]]:
    """Rows, with the line where each begins: in quotes it may go on over further lines."""
    rows = csv.reader((line.text for line in lines), strict=True)
    while True:
        line = rows.line_num + 1
        try:
            yield line, next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise ToolError(f"line {line}: invalid CSV: {error}.") from None


def _count(row: list[str]) -> str:
    return "1 column" if len(row) == 1 else f"{len(row)} columns"


def _from_text(lines: Iterator[_Line], fields: Fields) -> Iterator[_Found]:
    """Every line is a text, the empty ones too, so that row and line numbers agree."""
    for line in lines:
        yield _Found(line.number, {fields.text: line.text.removesuffix("\n").removesuffix("\r")})


READERS: dict[str, Callable[[Iterator[_Line], Fields], Iterator[_Found]]] = {
    "jsonl": _from_jsonl,
    "csv": _from_csv,
    "text": _from_text,
}


def _record(number: int, found: _Found, fields: Fields) -> Record:
    text = _field(found, fields.text)
    if not isinstance(text, str):
        raise ToolError(
            f"line {found.line}: the field {fields.text!r} must be a text, not {_kind(text)}."
        )
    if fields.id is None and found.fields.get(DEFAULT_ID_FIELD) is None:
        own = None
    else:
        own = _id(found, fields.id or DEFAULT_ID_FIELD)
    group = None if fields.group is None else _id(found, fields.group)
    return Record(number, found.line, own, text, group)


def _id(found: _Found, name: str) -> Id:
    value = _field(found, name)
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ToolError(
        f"line {found.line}: the field {name!r} must be a text or a whole number, "
        f"not {_kind(value)}."
    )


def _field(found: _Found, name: str) -> Any:
    if name in found.fields:
        return found.fields[name]
    there = ", ".join(map(repr, found.fields)) or "nothing"
    raise ToolError(f"line {found.line}: no field {name!r}; there is {there}.")


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a fraction")


_KINDS = {
    str: "a text",
    int: "a number",
    list: "a list",
    dict: "an object",
    bool: "true or false",
    type(None): "null",
}
