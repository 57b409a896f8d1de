"""Parsing: the bytes of a JSONL, CSV or text file -> records, or an error in place of a bad line.

`model.records` opens files, states the rules, and is what other packages import.
"""

import csv
import itertools
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, NoReturn

import orjson

from model.unicode import well_formed

# In bytes: far more than a model reads and less than a service accepts. It bounds the memory that a
# file without line ends takes.
LONGEST_LINE = 32 * 2**20
# The name of the only field of a text file's record.
TEXT = "text"
_OTHER_DELIMITERS = (";", "\t", "|")
# First bytes of files that are not UTF-8 text, and what to do about them.
_SIGNATURES = {
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
    b"\x1f\x8b": "is packed by gzip; unpack it, or let its name end in .gz",
    b"\xfd7zXZ": "is packed by xz; unpack it, or let its name end in .xz",
    b"BZh": "is packed by bzip2; unpack it, or let its name end in .bz2",
    b"\x28\xb5\x2f\xfd": "is packed by zstd; unpack it",
    b"PAR1": "is Parquet; save it as JSONL or CSV",
    b"PK\x03\x04": "is a zip archive or a spreadsheet; save it as JSONL or CSV",
}
_JSON_TYPES = {
    str: "a text",
    int: "a number",
    list: "a list",
    dict: "an object",
    bool: "true or false",
    type(None): "null",
}


class RecordsError(Exception):
    """A file that cannot be read any further; the message says why."""


class LineError(RecordsError):
    """A line, counted from 1, that is no valid record; its number is in the message, and not in
    `sentence`."""

    def __init__(self, line: int, sentence: str) -> None:
        super().__init__(f"line {line}: {sentence}")
        self.line = line
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """The fields of the record that begins on `line`, counted from 1.

    `repaired`: U+FFFD was put in the place of lone surrogates.
    """

    line: int
    fields: dict[str, Any]
    repaired: bool = False


class _Line(NamedTuple):
    number: int
    text: str


_Lines = Iterator[_Line | LineError]


def lines(stream: BinaryIO) -> _Lines:
    """Decoded lines with their line ends. Only a line feed ends a line.

    Raises:
        RecordsError: the file begins like one of another format.
    """
    for number in itertools.count(1):
        line = stream.readline(LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > LONGEST_LINE:
            yield LineError(number, f"longer than {LONGEST_LINE} bytes.")
            while line and not line.endswith(b"\n"):
                line = stream.readline(LONGEST_LINE + 1)
            continue
        try:
            text = line.decode()
            if number == 1:
                # A byte order mark is no part of the first text, and alone no text at all.
                text = text.removeprefix("\ufeff")
            if text:
                yield _Line(number, text)
        except UnicodeDecodeError as error:
            for signature, remedy in _SIGNATURES.items():
                if number == 1 and line.startswith(signature):
                    raise RecordsError(f"it {remedy}.") from None
            byte = f"byte {error.start + 1} of the line, {line[error.start]:#04x},"
            yield LineError(number, f"{byte} is not UTF-8; save the file as UTF-8.")


def from_jsonl(lines: _Lines, _: str) -> Iterator[ParsedRecord | LineError]:
    """One JSON object a line; blank lines are skipped."""
    for line in lines:
        if isinstance(line, LineError):
            yield line
        elif not line.text.isspace():
            yield _object(line)


def _object(line: _Line) -> ParsedRecord | LineError:
    repaired = False
    try:
        value = orjson.loads(line.text)
    except orjson.JSONDecodeError as error:
        value = _with_lone_surrogates(line.text)
        repaired = value is not None
        if not repaired:
            # orjson counts the column in characters, as editors do.
            return LineError(line.number, f"invalid JSON, at column {error.colno}: {error.msg}.")
    if not isinstance(value, dict):
        return LineError(line.number, f"must be an object, not {json_type(value)}.")
    return ParsedRecord(line.number, value, repaired)


def _with_lone_surrogates(text: str) -> Any:
    """The value of JSON that orjson refuses only for lone surrogates, each replaced; else None."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(text, parse_constant=refuse)
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)  # 1e999 is infinite
        repaired = well_formed(written)
        return None if repaired == written else orjson.loads(repaired)
    except (ValueError, RecursionError):
        return None


def from_csv(lines: _Lines, delimiter: str) -> Iterator[ParsedRecord | LineError]:
    """Rows by the names of the header, which is the first line that is not blank.

    Raises:
        LineError: the header cannot be read, or two columns have the same name.
    """
    csv.field_size_limit(LONGEST_LINE)
    rows = _csv_rows(lines, delimiter)
    header = _header(next((row for row in rows if isinstance(row, LineError) or row.cells), None))
    for row in rows:
        if isinstance(row, LineError):
            yield row
        elif not row.cells or (len(header) > 1 == len(row.cells) and row.cells[0].isspace()):
            continue  # a blank line
        elif len(row.cells) != len(header):
            count = "1 column" if len(row.cells) == 1 else f"{len(row.cells)} columns"
            sentence = f"{count}, but the header has {len(header)}.{separator_hint(header)}"
            yield LineError(row.line, sentence)
        else:
            yield ParsedRecord(row.line, dict(zip(header, row.cells, strict=True)))


class _Row(NamedTuple):
    line: int
    cells: list[str]


def _header(row: _Row | LineError | None) -> list[str]:
    if isinstance(row, LineError):
        raise row
    cells = row.cells if row else []
    for name in cells:
        if row and cells.count(name) > 1:
            raise LineError(row.line, f"two columns have the name {name!r}.")
    return cells


def separator_hint(names: Collection[str]) -> str:
    """The hint for a file whose only column's name contains another delimiter, or ""."""
    name = "".join(names) if len(names) == 1 else ""
    for each in _OTHER_DELIMITERS:
        if each in name:
            return f" Are the columns separated by {each!r}? Then say --delimiter {each!r}."
    return ""


def _csv_rows(lines: _Lines, delimiter: str) -> Iterator[_Row | LineError]:
    """Rows with the line on which each begins; a quoted cell may span further lines.

    A row that contains a bad line is replaced by that line's error.
    """
    bad: list[LineError] = []
    first = last = spoiled = 0

    def texts() -> Iterator[str]:
        nonlocal first, last, spoiled
        for line in lines:
            if isinstance(line, LineError):
                bad.append(line)
                last, spoiled = line.line, first
            else:
                last, first = line.number, first or line.number
                yield line.text

    rows = csv.reader(texts(), delimiter=delimiter, strict=True)
    while True:
        first = spoiled = 0
        row: list[str] | LineError | None
        try:
            row = next(rows, None)
        except csv.Error as error:
            row = LineError(first or last, f"invalid CSV: {error}.")
        yield from bad
        bad.clear()
        if row is None:
            return
        if not spoiled:
            yield row if isinstance(row, LineError) else _Row(first, row)


def from_text(lines: _Lines, _: str) -> Iterator[ParsedRecord | LineError]:
    """One text a line. Empty lines count too, so that record and line numbers agree."""
    for line in lines:
        if isinstance(line, LineError):
            yield line
        else:
            text = line.text.removesuffix("\n").removesuffix("\r")
            yield ParsedRecord(line.number, {TEXT: text})


READERS: dict[str, Callable[[_Lines, str], Iterator[ParsedRecord | LineError]]] = {
    "jsonl": from_jsonl,
    "csv": from_csv,
    "text": from_text,
}


def json_type(value: Any) -> str:
    """The type of a JSON value, in the words of an error message."""
    return _JSON_TYPES.get(type(value), "a fraction")
