"""Records: a JSONL, CSV or text file -> the fields of each record, read as a stream.

The only file reader of `quintet embed`, `corpus`, `tokens`, `train` and `evaluate`, with these
rules:

- The file is UTF-8; a byte order mark at its beginning is skipped. A line feed ends a line, and a
  carriage return before it belongs to the line end.
- Blank lines of JSONL and CSV are skipped. Every line of a text file is a record.
- .gz, .xz and .bz2 are unpacked; the ending before that says the format.
- A lone surrogate in JSON ("\\ud83d", half an emoji) becomes U+FFFD, and the record says so.
- A bad line is yielded as a LineError with its number, in the record's place: the caller may raise
  it, or skip it and go on.
- Labels and ids are texts or whole numbers; fractions, true and false are refused.
- In a folder, files whose names begin with a dot (macOS writes ._texts.jsonl) are skipped.

One line at a time is in memory.
"""

import importlib
import io
import shlex
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from model import parsing
from model.parsing import (
    READERS,
    TEXT,
    LineError,
    ParsedRecord,
    RecordsError,
    json_type,
    separator_hint,
)
from model.waiting_file import WaitingFile

__all__ = ["READERS", "TEXT", "LineError", "ParsedRecord", "RecordsError", "separator_hint"]

Id = str | int
# The names of the splits that records may belong to.
DEV, TEST, TRAIN = ("dev", "val", "valid", "validation"), ("test",), ("train", "training")

DEFAULT_ID_FIELD = "id"
# The options of commands that name the field with the text.
_TEXT_OPTIONS = ("--text-field", "--column")
KINDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".txt": "text"}
# file name ending: the module of the standard library that unpacks it
PACKINGS = {".gz": "gzip", ".xz": "lzma", ".bz2": "bz2"}


def kind_of(name: str) -> str | None:
    """The format of a file by its name's ending: "jsonl", "csv", "text" or None."""
    return KINDS.get(Path(unpacked(name)).suffix.lower())


def delimiter_of(name: str) -> str:
    """The default delimiter between the columns of a CSV file of that name."""
    return "\t" if Path(unpacked(name)).suffix.lower() == ".tsv" else ","


def unpacked(name: str) -> str:
    """The file name without .gz, .xz or .bz2."""
    path = Path(name)
    return str(path.with_suffix("")) if path.suffix.lower() in PACKINGS else name


def jsonl_files(folder: Path) -> list[Path]:
    """The JSONL files of a folder, packed or not, sorted; none whose name begins with a dot.

    Raises:
        RecordsError: the folder cannot be read.
    """
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if kind_of(path.name) == "jsonl" and not path.name.startswith(".") and path.is_file()
        )
    except OSError as error:
        raise RecordsError(f"cannot read the folder {folder}: {error.strerror}.") from None


def read_file(
    path: Path | None, kind: str, delimiter: str = ","
) -> Iterator[ParsedRecord | LineError]:
    """`read` for a file, unpacked by its name's ending, or for standard input if `path` is None.

    Raises:
        RecordsError: the file cannot be read or unpacked, or its header is wrong.
    """
    # Not sys.stdin: if a thread is reading it when the process ends, its lock blocks the exit.
    return read_opened(
        lambda: io.BufferedReader(WaitingFile(path or 0, "rb", closefd=path is not None)),
        str(path or "standard input"),
        kind,
        delimiter,
    )


def read_opened(
    opening: Callable[[], BinaryIO], name: str, kind: str, delimiter: str = ","
) -> Iterator[ParsedRecord | LineError]:
    """`read` for what `opening` opens, unpacked by its name's ending.

    Raises:
        RecordsError: it cannot be read or unpacked, or its header is wrong.
    """
    unpacking = PACKINGS.get(Path(name).suffix.lower())
    try:
        module = importlib.import_module(unpacking) if unpacking else None
    except ImportError:
        raise RecordsError(
            f"cannot read {name}: this Python was built without {unpacking}."
        ) from None
    unpack_errors = (OSError, EOFError, zlib.error, getattr(module, "LZMAError", OSError))
    try:
        with opening() as packed:
            stream = io.BufferedReader(module.open(packed, "rb")) if module else packed
            yield from read(stream, kind, delimiter)
    except LineError:
        raise
    except (RecordsError, *unpack_errors) as error:
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise RecordsError(f"cannot read {name}: {why}.") from None


def read(stream: BinaryIO, kind: str, delimiter: str = ",") -> Iterator[ParsedRecord | LineError]:
    """The records of a stream of `kind`, a key of READERS, with errors in place of bad lines.

    Raises:
        RecordsError: the rest cannot be read: the header of a CSV file is wrong (LineError), or the
            stream is of another format.
    """
    return READERS[kind](parsing.lines(stream), delimiter)


def raise_errors(records: Iterator[ParsedRecord | LineError]) -> Iterator[ParsedRecord]:
    """The records up to the first bad line, whose error is raised."""
    for each in records:
        if isinstance(each, LineError):
            raise each
        yield each


def require(record: ParsedRecord, name: str, option: str) -> None:
    """Refuse a record without the field `name`, and name the `option` that may be the cause.

    Raises:
        LineError: it is not there.
    """
    if name in record.fields:
        return
    there = ", ".join(map(repr, record.fields)) or "nothing"
    hint = separator_hint(record.fields) or _field_hint(record.fields, option)
    raise LineError(record.line, f"no field {name!r}; there is {there}.{hint}")


def _field_hint(fields: dict[str, Any], option: str) -> str:
    texts = [
        name
        for name, value in fields.items()
        if isinstance(value, str) and name not in ("", DEFAULT_ID_FIELD)
    ]
    if not texts or option not in _TEXT_OPTIONS:
        return f" Name one with {option}." if fields else ""
    longest = max(texts, key=lambda name: len(fields[name]))
    return f" Is {longest!r} the text? Then say {option} {shlex.quote(longest)}."


def id_of(record: ParsedRecord, name: str) -> Id:
    """The field `name`, which must be a text or a whole number, as labels and ids are.

    Raises:
        LineError: it is neither.
    """
    value = record.fields[name]
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise _type_error(record, name, "a text or a whole number")


def label_of(record: ParsedRecord, name: str) -> str:
    """The field `name` as a label: 3 is the label "3".

    Raises:
        LineError: it is neither a text nor a whole number, or blank.
    """
    label = str(id_of(record, name))
    if not label.strip():
        raise LineError(record.line, f"the field {name!r} is blank; a label is a name or a number.")
    return label


def text_of(record: ParsedRecord, name: str, *, blank: bool = False) -> str:
    """The field `name`, which must be a text, and not blank unless `blank` allows that.

    Raises:
        LineError: it is not.
    """
    text = record.fields[name]
    if not isinstance(text, str):
        raise _type_error(record, name, "a text")
    if not (blank or text.strip()):
        raise LineError(record.line, f"the field {name!r} is blank; it must be a text.")
    return text


def score_of(record: ParsedRecord, name: str) -> float:
    """The field `name`, which must be a number.

    Raises:
        LineError: it is not.
    """
    score = record.fields[name]
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise _type_error(record, name, "a number")
    return float(score)


def _type_error(record: ParsedRecord, name: str, wanted: str) -> LineError:
    found = json_type(record.fields[name])
    return LineError(record.line, f"the field {name!r} must be {wanted}, not {found}.")
