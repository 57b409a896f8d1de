"""Source: which file a tool reads, and how; the arguments that both tools have."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.tools.errors import ToolError
from app.tools.inputs import READERS, Fields, Record, records

STANDARD_INPUT = "-"
_KINDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".txt": "text"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add FILE and how it is read."""
    parser.add_argument(
        "file", metavar="FILE", help="JSONL, CSV with a header, or text; - is stdin"
    )
    parser.add_argument(
        "--input-format",
        choices=sorted(READERS),
        help="default: by the ending (.jsonl .ndjson .csv .txt); jsonl from stdin",
    )
    parser.add_argument("--text-field", default="text", metavar="FIELD", help="default: text")
    parser.add_argument(
        "--id-field",
        metavar="FIELD",
        help="default: id, and the number of the record from 0 where it is absent",
    )


@dataclass(frozen=True, slots=True)
class Source:
    """A file of records. It can be read more than once if it is `lasting`: no pipe, no stdin."""

    file: str
    kind: str
    fields: Fields

    @property
    def lasting(self) -> bool:
        return self.file != STANDARD_INPUT and Path(self.file).is_file()

    def records(self) -> Iterator[Record]:
        """The records, read as they are taken.

        Raises:
            ToolError: the file cannot be read, or a line is not what it must be.
        """
        try:
            # Not sys.stdin: a thread may be reading it when the process ends, which locks that.
            piped = self.file == STANDARD_INPUT
            with open(0 if piped else self.file, "rb", closefd=not piped) as stream:
                yield from records(stream, self.kind, self.fields)
        except OSError as error:
            raise ToolError(f"cannot read {self.file}: {error.strerror}.") from None

    def facts(self) -> dict[str, Any]:
        """What tells this input from another one, by the name that a sentence gives it."""
        path = Path(self.file).resolve()
        state = path.stat()
        return {
            "the input file": str(path),
            "the input's size in bytes": state.st_size,
            "the input's time of change": datetime.fromtimestamp(state.st_mtime, UTC).isoformat(),
            "--input-format": self.kind,
            "--text-field": self.fields.text,
            "--id-field": self.fields.id,
            "--group": self.fields.group,
        }


def source(options: argparse.Namespace, group: str | None = None) -> Source:
    """The source that the arguments name.

    Raises:
        ToolError: there is no such file, its ending does not say the format, or a text file is
            asked for fields.
    """
    if options.file != STANDARD_INPUT and not Path(options.file).exists():
        raise ToolError(f"there is no file {options.file}.")
    if Path(options.file).is_dir():
        raise ToolError(f"{options.file} is a folder.")
    by_ending = _KINDS.get(Path(options.file).suffix.lower())
    kind = options.input_format or ("jsonl" if options.file == STANDARD_INPUT else by_ending)
    if kind is None:
        raise ToolError(f"{options.file}: say what it is with --input-format.")
    if kind == "text" and (group or options.id_field):
        raise ToolError("a text file has one text a line and no fields: use JSONL or CSV.")
    return Source(options.file, kind, Fields(options.text_field, options.id_field, group))
