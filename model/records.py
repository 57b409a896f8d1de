"""Records: a JSONL, CSV or text file -> the fields of each record, read as a stream.

The one reader of `embed`, `tokens`, evaluation and training, so that a file means the same to all:

- The file is UTF-8; a byte order mark in front is no part of it. A line feed ends a line, and a
  carriage return in front of it belongs to the end.
- Blank lines of JSONL and CSV are no records. Every line of a text file is one.
- .gz, .xz and .bz2 are unpacked; what is inside is told by the ending before that.
- A lone surrogate in JSON ("\\ud83d", half an emoji) becomes U+FFFD, and the record says so.
- A line that is no record is an error with its number, which is handed over in the record's place:
  who reads may raise it, or leave it out and go on.
- Labels and ids are texts or whole numbers; a fraction, true and false are refused.
- Files whose names begin with a dot (macOS writes ._texts.jsonl) are none of a folder's.

Memory holds one line.
"""

import importlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

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

__all__ = ["READERS", "TEXT", "LineError", "ParsedRecord", "RecordsError", "separator_hint"]

Id = str | int

KINDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".txt": "text"}
# ending: the module of the standard library that unpacks it
PACKINGS = {".gz": "gzip", ".xz": "lzma", ".bz2": "bz2"}


def kind_of(name: str) -> str | None:
    """The kind of a file, "jsonl", "csv" or "text", by the ending of its name; or None."""
    return KINDS.get(Path(unpacked(name)).suffix.lower())


def delimiter_of(name: str) -> str:
    """What is between the columns of a CSV file of that name, if nobody says otherwise."""
    return "\t" if Path(unpacked(name)).suffix.lower() == ".tsv" else ","


def unpacked(name: str) -> str:
    """The name without the ending that says how the file is packed."""
    path = Path(name)
    return str(path.with_suffix("")) if path.suffix.lower() in PACKINGS else name


def jsonl_files(folder: Path) -> list[Path]:
    """The JSONL files of a folder, packed or not, by name; none whose name begins with a dot.

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
    """What `read` says of a file, which is unpacked if its name asks for that, or of standard
    input.

    Raises:
        RecordsError: the file cannot be read or unpacked, or its header is wrong.
    """
    name = PACKINGS.get(path.suffix.lower()) if path else None
    try:
        module = importlib.import_module(name) if name else None
    except ImportError:
        raise RecordsError(f"cannot read {path}: this Python was built without {name}.") from None
    damages = (OSError, EOFError, zlib.error, getattr(module, "LZMAError", OSError))
    try:
        # Not sys.stdin: a thread may be reading it when the process ends, which locks that.
        with open(path or 0, "rb", closefd=path is not None) as packed:
            stream = io.BufferedReader(module.open(packed, "rb")) if module else packed
            yield from read(cast(BinaryIO, stream), kind, delimiter)
    except LineError:
        raise
    except (RecordsError, *damages) as error:
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise RecordsError(f"cannot read {path or 'standard input'}: {why}.") from None


def read(stream: BinaryIO, kind: str, delimiter: str = ",") -> Iterator[ParsedRecord | LineError]:
    """The records of a file of `kind`, a key of READERS, and errors in the place of bad lines.

    Raises:
        LineError: there is no reading on: the header of a CSV file is wrong.
    """
    return READERS[kind](parsing.lines(stream), delimiter)


def raise_errors(found: Iterator[ParsedRecord | LineError]) -> Iterator[ParsedRecord]:
    """The records up to the first bad line, whose error is raised."""
    for each in found:
        if isinstance(each, LineError):
            raise each
        yield each


def id_of(found: ParsedRecord, name: str) -> Id:
    """The field `name`, a text or a whole number, as labels and ids are.

    Raises:
        LineError: it is neither.
    """
    value = found.fields[name]
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise LineError(
        found.line, f"the field {name!r} must be a text or a whole number, not {json_type(value)}."
    )


def label_of(found: ParsedRecord, name: str) -> str:
    """The field `name` as a label: 3 is the label "3".

    Raises:
        LineError: it is no text and no whole number, or blank.
    """
    label = str(id_of(found, name))
    if not label.strip():
        raise LineError(found.line, f"the field {name!r} is blank; a label is a name or a number.")
    return label


def text_of(found: ParsedRecord, name: str, *, blank: bool = False) -> str:
    """The field `name`, a text.

    Raises:
        LineError: it is none, or blank where that is not allowed.
    """
    text = found.fields[name]
    if not isinstance(text, str):
        raise LineError(found.line, f"the field {name!r} must be a text, not {json_type(text)}.")
    if not (blank or text.strip()):
        raise LineError(found.line, f"the field {name!r} is blank; it must be a text.")
    return text


def score_of(found: ParsedRecord, name: str) -> float:
    """The field `name`, a number.

    Raises:
        LineError: it is none.
    """
    score = found.fields[name]
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise LineError(found.line, f"the field {name!r} must be a number, not {json_type(score)}.")
    return float(score)
