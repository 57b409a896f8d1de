"""Files -> parts: every row is in one part, or in its failures, in order."""

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.corpus import reading
from model.corpus.errors import CorpusError
from model.corpus.folders import folder
from model.corpus.options import Columns, PartSize
from tests.model.corpus.corpora import (
    WHOLE,
    failures,
    files_of,
    parts_of,
    sentence,
    write_jsonl,
    write_parquet,
)


@pytest.mark.parametrize("size", [PartSize(1, 1000), PartSize(7, 1000), PartSize(100, 150), WHOLE])
def test_every_row_is_in_one_part_in_its_order(tmp_path: Path, size: PartSize) -> None:
    texts = [sentence(number) for number in range(40)]
    write_jsonl(tmp_path / "a.jsonl", ({"id": f"n{i}", "text": t} for i, t in enumerate(texts)))
    parts = parts_of(tmp_path, size=size)
    assert [part["part"] for part in parts] == [*range(len(parts))]
    assert [part["last"] for part in parts] == [False] * (len(parts) - 1) + [True]
    assert [text for part in parts for text in part["texts"]] == texts
    assert [name for part in parts for name in part["ids"]] == [f"n{i}" for i in range(40)]
    assert [row for part in parts for row in part["rows"]] == [*range(40)]
    assert all(len(part["texts"]) <= size.texts for part in parts)
    longest = max(map(len, texts))
    assert all(sum(map(len, part["texts"])) < size.characters + longest for part in parts)


def test_rows_that_cannot_be_read_are_failures_with_a_reason(tmp_path: Path) -> None:
    records = [
        {"text": "good"},
        {"id": "n", "text": None},
        {"id": 3, "text": 4},
        b"not json",
        {"id": True, "text": "a"},
        {"body": "other"},
        b'{"text": "\xff"}',
        {"text": " "},
    ]
    write_jsonl(tmp_path / "a.jsonl", records)
    (part,) = parts_of(tmp_path)
    assert part["texts"] == ["good", " "]
    assert part["ids"] == ["a.jsonl:0", "a.jsonl:7"]
    found = failures(part)
    assert [each["row"] for each in found] == [1, 2, 3, 4, 5, 6]
    assert [each["line"] for each in found] == [2, 3, 4, 5, 6, 7]
    assert [each["id"] for each in found] == ["n", 3, None, None, None, None]
    said = [each["error"] for each in found]
    assert said[0] == "the field 'text' must be a text, not null."
    assert said[1] == "the field 'text' must be a text, not a number."
    assert "invalid JSON" in said[2]
    assert said[3] == "the field 'id' must be a text or a whole number, not true or false."
    assert (
        said[4] == "no field 'text'; there is 'body'. Is 'body' the text? Then say --column body."
    )
    assert "is not UTF-8" in said[5]


def test_parquet_gives_what_jsonl_gives_and_no_other_column_is_read(tmp_path: Path) -> None:
    texts = ["one", None, "three"]
    write_parquet(
        tmp_path / "p.parquet",
        key=pa.array([1, 2, 3]),
        body=pa.array(texts).dictionary_encode(),
        vector=pa.array([[1.0]] * 3),
    )
    (part,) = parts_of(tmp_path, Columns("body", "key"))
    assert (part["ids"], part["texts"]) == (["1", "3"], ["one", "three"])
    (failed,) = failures(part)
    assert failed == {"row": 1, "id": 2, "error": "the field 'body' must be a text, not null."}
    write_parquet(tmp_path / "p.parquet", text=["a", "b"])
    (part,) = parts_of(tmp_path)
    assert part["ids"] == ["p.parquet:0", "p.parquet:1"]


def test_packed_files_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "packed"}\n'))
    (part,) = parts_of(tmp_path)
    assert (part["texts"], part["broken"]) == (["packed"], None)


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b'{"text": "a"}\n' * 999)[:-40], b"no gzip"],
    ids=["cut off", "no gzip"],
)
def test_a_file_that_cannot_be_read_to_its_end_is_broken(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(content)
    parts = parts_of(tmp_path)
    assert parts[-1]["last"]
    assert "a.jsonl.gz" in parts[-1]["broken"]
    (tmp_path / "a.jsonl.gz").rename(tmp_path / "a.parquet")
    assert "a.parquet" in parts_of(tmp_path)[-1]["broken"]


def test_a_file_that_changes_meanwhile_is_broken(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "a"}] * 9)
    (file,) = files_of(tmp_path)
    os.utime(path, ns=(file.mtime_ns + 1, file.mtime_ns + 1))
    filesystem = folder(str(tmp_path)).filesystem
    (table,) = reading.read_parts(0, file, filesystem, Columns("text"), WHOLE)
    assert table.to_pylist()[0]["broken"] == f"{path} changed while it was read"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (Columns("txt"), "no column 'txt' of texts; there is 'text', 'date': name one with"),
        (Columns("number"), "no column 'number' of texts"),
        (Columns("text", "key"), "no column 'key'; name one with --id-column"),
        (Columns("text"), "the column 'id' is double; ids are texts or whole numbers"),
    ],
)
def test_a_column_that_is_not_there_is_a_sentence(
    tmp_path: Path, columns: Columns, said: str
) -> None:
    write_parquet(tmp_path / "p.parquet", text=["a"], number=[1], date=["b"], id=[0.5])
    (file,) = files_of(tmp_path)
    with pytest.raises(CorpusError) as refused:
        reading.has_columns(file, folder(str(tmp_path)).filesystem, columns)
    assert said in str(refused.value)


@pytest.mark.parametrize("twice", ["text", "id"])
def test_two_columns_of_one_name_are_a_sentence(tmp_path: Path, twice: str) -> None:
    names = ["text", "id", twice]
    table = pa.Table.from_arrays([pa.array([f"in {at}"]) for at in range(3)], names=names)
    pq.write_table(table, tmp_path / "p.parquet")
    (file,) = files_of(tmp_path)
    said = f"2 columns have the name '{twice}'; give each its own."
    with pytest.raises(CorpusError, match=said):
        reading.has_columns(file, folder(str(tmp_path)).filesystem, Columns("text"))
    (part,) = parts_of(tmp_path)
    assert part["broken"].endswith(said)


def test_a_field_that_jsonl_lacks_is_one_too_and_a_bad_first_line_is_none(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [b"bad", {"body": "a longer text", "a": "b"}])
    (file,) = files_of(tmp_path)
    filesystem = folder(str(tmp_path)).filesystem
    assert reading.has_columns(file, filesystem, Columns("body"))
    with pytest.raises(CorpusError, match=r"line 2: no field 'text'.*Then say --column body"):
        reading.has_columns(file, filesystem, Columns("text"))
    (tmp_path / "a.jsonl").write_bytes(b"")
    (file,) = files_of(tmp_path)
    assert not reading.has_columns(file, filesystem, Columns("text"))
