"""Parsing: the bytes of a JSONL, CSV or text file -> records, with an error in the place of each
line that is none. model.records says the rules, and is what others import.
"""

import csv
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, NoReturn

import orjson

from model.unicode import well_formed

# Far over what a model reads and under what a service takes; a file without line ends stops here.
LONGEST_LINE = 32 * 2**20
# The field that a line of a text file is.
TEXT = "text"
_SEPARATORS = (";", "\t", "|")
# How files begin that are no UTF-8, and what is to be done about them.
_BEGINNINGS = {
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
    b"\x1f\x8b": "is packed by gzip; unpack it, or let its name end in .gz",
    b"\xfd7zXZ": "is packed by xz; unpack it, or let its name end in .xz",
    b"BZh": "is packed by bzip2; unpack it, or let its name end in .bz2",
    b"\x28\xb5\x2f\xfd": "is packed by zstd; unpack it",
    b"PAR1": "is Parquet; save it as JSONL or CSV",
    b"PK\x03\x04": "is a zip archive or a spreadsheet; save it as JSONL or CSV",
}


class RecordsError(Exception):
    """A file that cannot be read on; the sentence says why."""


class LineError(RecordsError):
    """A line that is no record, or not the one that is wanted; the sentence has its number."""

    def __init__(self, line: int, sentence: str) -> None:
        super().__init__(f"line {line}: {sentence}")
        self.line = line


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """The fields that begin on a line, counted from 1. `repaired` says that U+FFFD stands in them
    for lone surrogates."""

    line: int
    fields: dict[str, Any]
    repaired: bool = False


class _Line(NamedTuple):
    number: int
    text: str


_Lines = Iterator[_Line | LineError]


def lines(stream: BinaryIO) -> _Lines:
    """Lines with their ends, as text. Only a line feed ends a line."""
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
            # A byte order mark is no part of the first text.
            yield _Line(number, text.removeprefix("\ufeff") if number == 1 else text)
        except UnicodeDecodeError as error:
            _refuse_beginning(line if number == 1 else b"")
            byte = f"byte {error.start + 1} of the line, {line[error.start]:#04x},"
            yield LineError(number, f"{byte} is not UTF-8; save the file as UTF-8.")


def _refuse_beginning(line: bytes) -> None:
    for beginning, said in _BEGINNINGS.items():
        if line.startswith(beginning):
            raise RecordsError(f"it {said}.")


def from_jsonl(found: _Lines, _: str) -> Iterator[ParsedRecord | LineError]:
    """An object a line; blank lines are none."""
    for line in found:
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
            # The column is counted in characters, as editors do.
            where = f"at column {error.colno}: {error.msg}"
            return LineError(line.number, f"invalid JSON, {where}.")
    if not isinstance(value, dict):
        return LineError(line.number, f"must be an object, not {json_type(value)}.")
    return ParsedRecord(line.number, value, repaired)


def _with_lone_surrogates(text: str) -> Any:
    """A JSON value that orjson refuses for lone surrogates alone, repaired; else None."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    repaired = _repaired(value)
    return None if repaired == value else repaired


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is none of JSON's values")


def _repaired(value: Any) -> Any:
    """A JSON value with U+FFFD for the lone surrogates in its texts."""
    match value:
        case str():
            return well_formed(value)
        case list():
            return [_repaired(each) for each in value]
        case dict():
            return {well_formed(name): _repaired(each) for name, each in value.items()}
    return value


def from_csv(found: _Lines, delimiter: str) -> Iterator[ParsedRecord | LineError]:
    """Rows by the names of the header, which is the first line that is not blank."""
    csv.field_size_limit(LONGEST_LINE)
    rows = _csv_rows(found, delimiter)
    header = _header(next((row for row in rows if isinstance(row, LineError) or row.cells), None))
    for row in rows:
        if isinstance(row, LineError):
            yield row
        elif not row.cells or (len(header) > 1 == len(row.cells) and row.cells[0].isspace()):
            continue  # a blank line
        elif len(row.cells) != len(header):
            count = "1 column" if len(row.cells) == 1 else f"{len(row.cells)} columns"
            sentence = f"{count}, but the header has {len(header)}.{_separator_hint(header)}"
            yield LineError(row.line, sentence)
        else:
            yield ParsedRecord(row.line, dict(zip(header, row.cells, strict=True)))


class _Row(NamedTuple):
    line: int
    cells: list[str]


def _header(row: _Row | LineError | None) -> list[str]:
    if isinstance(row, LineError):
        raise row
    if row is None:
        return []
    for name in row.cells:
        if row.cells.count(name) > 1:
            raise LineError(row.line, f"two columns have the name {name!r}.")
    return row.cells


def _separator_hint(header: list[str]) -> str:
    """What to say where a header of one column has been written with another separator."""
    there = [each for each in _SEPARATORS if len(header) == 1 and each in header[0]]
    if not there:
        return ""
    return f" Are the columns separated by {there[0]!r}? Then say --delimiter {there[0]!r}."


def separator_hint(fields: dict[str, Any]) -> str:
    """The same for the fields of a record."""
    return _separator_hint([*fields])


def _csv_rows(found: _Lines, delimiter: str) -> Iterator[_Row | LineError]:
    """Rows, with the line where each begins: in quotes it may go on over further lines. What has a
    bad line in it is none."""
    bad: list[LineError] = []
    begun = last = spoiled = 0

    def texts() -> Iterator[str]:
        nonlocal begun, last, spoiled
        for line in found:
            if isinstance(line, LineError):
                bad.append(line)
                last, spoiled = line.line, begun
            else:
                last, begun = line.number, begun or line.number
                yield line.text

    rows = csv.reader(texts(), delimiter=delimiter, strict=True)
    while True:
        begun = spoiled = 0
        row: list[str] | LineError | None
        try:
            row = next(rows, None)
        except csv.Error as error:
            row = LineError(begun or last, f"invalid CSV: {error}.")
        yield from bad
        bad.clear()
        if row is None:
            return
        if not spoiled:
            yield row if isinstance(row, LineError) else _Row(begun, row)


def from_text(found: _Lines, _: str) -> Iterator[ParsedRecord | LineError]:
    """Every line is a text, the empty ones too, so that row and line numbers agree."""
    for line in found:
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
    """What a JSON value is, for a sentence."""
    return _KINDS_SAID.get(type(value), "a fraction")


_KINDS_SAID = {
    str: "a text",
    int: "a number",
    list: "a list",
    dict: "an object",
    bool: "true or false",
    type(None): "null",
}
