"""The input file of a tool and how it is read: the arguments that `embed` and `tokens` share."""

import argparse
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.tools.input_records import Fields, Record, records
from app.tools.tool_errors import ToolError
from model.records import (
    KINDS,
    PACKINGS,
    READERS,
    TEXT,
    RecordsError,
    delimiter_of,
    kind_of,
    read_file,
)

STANDARD_INPUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add FILE and how it is read."""
    parser.add_argument(
        "file",
        metavar="FILE",
        help=f"JSONL, CSV with a header, or text, also {' '.join(PACKINGS)}; - is stdin",
    )
    parser.add_argument(
        "--input-format",
        choices=sorted(READERS),
        help=f"default: by the ending ({' '.join(KINDS)}); jsonl from stdin",
    )
    parser.add_argument(
        "--delimiter",
        type=_delimiter,
        metavar="C",
        help="between the columns of CSV; default: a comma, in .tsv a tab ('\\t')",
    )
    parser.add_argument("--text-field", default="text", metavar="FIELD", help="default: text")
    parser.add_argument(
        "--id-field",
        metavar="FIELD",
        help="default: id, and the number of the record from 0 where it is absent",
    )


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of records. It is `rereadable` if it can be read twice: no pipe, no stdin."""

    file: str
    kind: str
    fields: Fields
    delimiter: str = ","

    @property
    def rereadable(self) -> bool:
        return self.file != STANDARD_INPUT and os.path.isfile(self.file)  # noqa: PTH113  (never raises)

    @property
    def name(self) -> str:
        """Its name in a sentence."""
        return "standard input" if self.file == STANDARD_INPUT else self.file

    def records(self, *, skip_errors: bool = False) -> Iterator[Record]:
        """The records, read as they are taken; with `skip_errors` also lines that cannot be read.

        Raises:
            ToolError: the file cannot be read, or a line is not what it must be.
        """
        path = None if self.file == STANDARD_INPUT else Path(self.file)
        found = read_file(path, self.kind, self.delimiter)
        try:
            yield from records(found, self.fields, skip_errors=skip_errors)
        except RecordsError as error:
            raise ToolError(str(error)) from None

    def identity(self) -> dict[str, Any]:
        """What makes two inputs the same; the names are those in a sentence about a change."""
        path = Path(self.file).resolve()
        state = path.stat()
        return {
            "the input file": str(path),
            "the input's size in bytes": state.st_size,
            "the input's SHA-256": _sha256(path),
            "--input-format": self.kind,
            "--delimiter": None if self.delimiter == "," else self.delimiter,
            "--text-field": self.fields.text,
            "--id-field": self.fields.id,
            "--group": self.fields.group,
        }


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ToolError(f"cannot read {path}: {error.strerror}.") from None


def input_file(options: argparse.Namespace, group: str | None = None) -> InputFile:
    """The input file that the arguments name.

    Raises:
        ToolError: there is no such file, its ending does not say the format, or a text file is
            asked for fields.
    """
    if options.file != STANDARD_INPUT:
        _check_there(options.file)
    kind = options.input_format or (
        "jsonl" if options.file == STANDARD_INPUT else kind_of(options.file)
    )
    if kind is None:
        known = " ".join(KINDS)
        raise ToolError(
            f"{options.file}: none of the endings {known} says what it is; say it with "
            "--input-format."
        )
    if kind == "text" and (group or options.id_field):
        raise ToolError("a text file has one text a line and no fields: use JSONL or CSV.")
    if options.delimiter and kind != "csv":
        raise ToolError(f"--delimiter is for CSV, and {options.file} is read as {kind}.")
    text = TEXT if kind == "text" else options.text_field
    fields = Fields(text, options.id_field, group)
    return InputFile(options.file, kind, fields, options.delimiter or delimiter_of(options.file))


def _check_there(file: str) -> None:
    try:
        mode = Path(file).stat().st_mode
    except FileNotFoundError:
        raise ToolError(f"there is no file {file}.") from None
    except OSError as error:
        raise ToolError(f"cannot read {file}: {error.strerror}.") from None
    if stat.S_ISDIR(mode):
        raise ToolError(f"{file} is a folder.")


def _delimiter(text: str) -> str:
    text = {"\\t": "\t", "tab": "\t"}.get(text, text)
    if len(text) != 1 or text in '\r\n"':
        raise argparse.ArgumentTypeError(f"must be one character, such as ';', not {text!r}")
    return text
