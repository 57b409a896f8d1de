"""Small corpora, and the stages of a run one after the other, without Ray."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from model.corpus.folders import InputFile, folder, input_files
from model.corpus.options import ChunkOptions, Columns, CorpusOptions, PartSize
from model.corpus.reading import read_parts

WHOLE = PartSize(4096, 500_000)
TEXT = Columns("text")
WORDS = ("bread", "river", "mountain", "station", "letter", "winter", "music", "garden", "number")


def sentence(number: int, words: int = 12) -> str:
    return " ".join(WORDS[(number * 7 + at * (number % 5 + 1)) % len(WORDS)] for at in range(words))


def write_jsonl(path: Path, records: Iterable[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"".join(
            (each if isinstance(each, bytes) else orjson.dumps(each)) + b"\n" for each in records
        )
    )
    return path


def write_parquet(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def options(
    text: str = "text",
    name: str | None = None,
    dimensions: int | None = None,
    chunks: ChunkOptions | None = None,
    *,
    truncate: bool = False,
) -> CorpusOptions:
    columns = Columns(text, name)
    return CorpusOptions(columns, "retrieval.passage", dimensions, truncate, chunks)


def files_of(path: Path) -> list[InputFile]:
    return input_files(folder(str(path)))[0]


def parts_of(path: Path, columns: Columns = TEXT, size: PartSize = WHOLE) -> list[dict[str, Any]]:
    """The parts of the only file in a folder, as Python has them."""
    (file,) = files_of(path)
    tables = read_parts(0, file, folder(str(path)).filesystem, columns, size)
    return [part for table in tables for part in table.to_pylist()]


def failures(part: dict[str, Any]) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in part["failed"]]
