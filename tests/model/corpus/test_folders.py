"""Folders of inputs and outputs: what is read, what is finished, and what is refused."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from model.corpus import folders
from model.corpus.errors import CorpusError
from model.corpus.folders import Folder, InputFile, folder
from tests.model.corpus.corpora import files_of, write_jsonl, write_parquet


def finish(output: Path, file: InputFile, space: str = "a.b", **more: str) -> None:
    said = {folders.SPACE: space, folders.ORIGIN: file.origin, **more}
    table = pa.table({"id": ["1"]}).replace_schema_metadata(said)
    path = output / file.output_name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def test_parquet_and_jsonl_files_are_read_and_nothing_hidden(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/c.ndjson.gz", "a/.d.jsonl", "_e/f.jsonl", "notes.txt"):
        write_jsonl(tmp_path / name, [{"text": "a"}])
    write_parquet(tmp_path / "z.parquet", text=["a"])
    files, others = folders.input_files(folder(str(tmp_path)))
    assert [each.name for each in files] == ["a/c.ndjson.gz", "b.jsonl", "z.parquet"]
    assert [each.output_name for each in files] == [
        *("a/c.ndjson.gz.parquet", "b.jsonl.parquet", "z.parquet"),
    ]
    assert others == 1


@pytest.mark.parametrize(
    ("names", "asked", "said"),
    [
        ([], "nowhere", "there is no folder"),
        (["a.txt"], ".", "has no Parquet or JSONL file"),
        (["a.jsonl"], "a.jsonl", "is a file; name its folder, or use `quintet embed`"),
        (["a.jsonl", "a.jsonl.parquet"], ".", "whose vectors would have one name"),
    ],
)
def test_a_folder_that_cannot_be_read_is_a_sentence(
    tmp_path: Path, names: list[str], asked: str, said: str
) -> None:
    for name in names:
        (tmp_path / name).write_text("")
    with pytest.raises(CorpusError, match=said):
        folders.input_files(folder(str(tmp_path / asked)))


def test_an_address_that_nothing_opens_is_a_sentence() -> None:
    with pytest.raises(CorpusError, match="cannot open nonsense://a/b"):
        folder("nonsense://a/b")


def test_fsspec_opens_what_pyarrow_does_not() -> None:
    memory = folder("memory://corpus/in")
    memory.write("a.jsonl", b'{"text": "a"}\n')
    assert [each.name for each in folders.input_files(memory)[0]] == ["a.jsonl"]
    assert memory.read("a.jsonl") == b'{"text": "a"}\n'
    assert memory.read("b.jsonl") is None


def test_a_file_is_finished_until_it_changes(tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        write_jsonl(source / name, [{"text": name}])
    files = files_of(source)
    assert folders.finished(folder(str(output))).origins == {}
    for each in files[:2]:
        finish(output, each)
    found = folders.finished(folder(str(output)))
    assert [each.name for each in folders.chosen(files, found.origins)] == ["c.jsonl"]
    os.utime(source / "a.jsonl", ns=(1, 1))
    waiting = folders.chosen(files_of(source), found.origins)
    assert [each.name for each in waiting] == ["a.jsonl", "c.jsonl"]


def test_files_of_somebody_else_are_refused(tmp_path: Path) -> None:
    output = folder(str(tmp_path))
    write_parquet(tmp_path / "a.parquet", id=["1"])
    with pytest.raises(CorpusError, match="was not written by `quintet corpus`; name an empty"):
        folders.finished(output)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match="cannot read"):
        folders.finished(output)
    (tmp_path / "a.parquet").unlink()
    (tmp_path / "a.csv").write_text("a")
    with pytest.raises(CorpusError, match=r"has a\.csv, which is none of its vectors"):
        folders.finished(output)


@pytest.mark.parametrize("beginning", [0, 4, 100, -1])
def test_a_file_that_was_not_written_to_its_end_is_not_finished(
    tmp_path: Path, beginning: int
) -> None:
    """A process that died left it, on a filesystem that shows files while they are written."""
    for name in ("a.jsonl", "b.jsonl"):
        write_jsonl(tmp_path / "in" / name, [{"text": name}])
    files, output = files_of(tmp_path / "in"), folder(str(tmp_path / "out"))
    folders.claim(output, {})
    for each in files:
        finish(tmp_path / "out", each)
    cut = tmp_path / "out/a.jsonl.parquet"
    cut.write_bytes(cut.read_bytes()[:beginning])
    found = folders.finished(output)
    assert [each.name for each in folders.chosen(files, found.origins)] == ["a.jsonl"]
    assert found.spaces == {"b.jsonl.parquet": "a.b"}


def test_a_file_that_cannot_be_opened_is_a_sentence_and_not_computed_again(tmp_path: Path) -> None:
    class Refusing(LocalFileSystem):
        def open(self, path: str, *arguments: Any, **named: Any) -> Any:
            if path.endswith(".parquet"):
                raise PermissionError("access is denied")
            return super().open(path, *arguments, **named)

    write_jsonl(tmp_path / "in/a.jsonl", [{"text": "a"}])
    (file,) = files_of(tmp_path / "in")
    finish(tmp_path / "out", file)
    handler = pafs.FSSpecHandler(Refusing(skip_instance_cache=True))
    output = Folder(pafs.PyFileSystem(handler), str(tmp_path / "out"), "out")
    folders.claim(output, {})
    with pytest.raises(CorpusError, match=r"denied; make it readable, or remove it to have its"):
        folders.finished(output)


def test_a_folder_is_of_one_kind_of_vectors(tmp_path: Path) -> None:
    output = folder(str(tmp_path / "out"))
    asked = {"embedding space": "a.b", "--task": "separation", "--dimensions": None}
    folders.claim(output, asked)
    folders.claim(output, asked)
    with pytest.raises(CorpusError, match=r"whose --dimensions was None, and now is 64"):
        folders.claim(output, {**asked, "--dimensions": 64})
    with pytest.raises(CorpusError, match=r"whose embedding space was a\.b, and now is a\.c"):
        folders.claim(output, {**asked, "embedding space": "a.c"})


@pytest.mark.parametrize("content", ["[]", "null", '"text"', ""])
def test_options_that_are_no_object_are_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "_corpus.json").write_text(content)
    with pytest.raises(CorpusError, match=r"_corpus\.json in .* is damaged"):
        folders.claim(folder(str(tmp_path)), {"--task": "separation"})


@pytest.mark.parametrize(
    ("source", "output", "there"),
    [("a", "a", True), ("a", "a/b", True), ("a/b", "a", True), ("a", "ab", False)],
)
def test_folders_in_each_other_are_seen(
    tmp_path: Path, source: str, output: str, there: bool
) -> None:
    pair = folder(str(tmp_path / source)), folder(str(tmp_path / output))
    assert folders.overlapping(*pair) == there
    assert not folders.overlapping(pair[0], folder("memory://a"))


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize(
    ("source", "output", "there"),
    [
        ("in", "../{name}/in/out", True),
        ("in", "link/out", True),
        ("link", "in", True),
        ("link/../in", "out", False),
    ],
)
def test_folders_in_each_other_are_seen_by_any_of_their_paths(
    tmp_path: Path, scheme: str, source: str, output: str, there: bool
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    given = (f"{scheme}{tmp_path}/{each.format(name=tmp_path.name)}" for each in (source, output))
    assert folders.overlapping(*map(folder, given)) == there
