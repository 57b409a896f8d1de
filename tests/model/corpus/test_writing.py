"""Output files of parts: what a join leaves that is done again, or whose parts are missing."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from model.corpus import folders
from model.corpus.folders import InputFile, folder
from model.corpus.reading import failure
from model.corpus.writing import Output, join_parts
from model.vector_table import fields_of
from tests.model.corpus.corpora import files_of, write_jsonl, write_parquet

PARTS = [("_parts/run/0", 1), ("_parts/run/1", 1)]
FIELDS = fields_of(chunked=False)


def joined_from(path: Path, scheme: str = "") -> tuple[InputFile, Output]:
    """An input file, and an output folder that has its two parts, each with a row left out."""
    write_jsonl(path / "in/a.jsonl", [{"text": "a"}])
    (file,) = files_of(path / "in")
    output = Output(folder(f"{scheme}{path}/out"), "run", FIELDS, 1, {folders.SPACE: "a.b"})
    for number, (name, _) in enumerate(PARTS):
        write_parquet(path / f"out/{name}.parquet", id=[str(number)], embedding=[[1.0]])
        (path / f"out/{name}.jsonl").write_text(f"{failure(number, None, 'it is blank.')}\n")
    return file, output


def contents(paths: Sequence[Path]) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(paths) if path.is_file()}


@pytest.mark.parametrize("scheme", ["", "local://"])
@pytest.mark.parametrize("removed", range(5))
def test_a_join_that_is_done_again_keeps_what_is_in_place(
    tmp_path: Path, scheme: str, removed: int
) -> None:
    """Ray does it again if its process died, here after so many files of parts were removed."""
    file, output = joined_from(tmp_path, scheme)
    parts = contents([*(tmp_path / "out/_parts/run").iterdir()])
    join_parts(file, PARTS, output)
    written = contents([*(tmp_path / "out").rglob("*")])
    assert [path.name for path in written] == ["a.jsonl.jsonl", "a.jsonl.parquet"]
    assert written[tmp_path / "out/_errors/a.jsonl.jsonl"].count(b"\n") == 2
    assert pq.read_table(tmp_path / "out/a.jsonl.parquet").column("id").to_pylist() == ["0", "1"]
    for path, content in [*parts.items()][removed:]:
        path.write_bytes(content)
    join_parts(file, PARTS, output)
    assert contents([*(tmp_path / "out").rglob("*")]) == written


@pytest.mark.parametrize("scheme", ["", "local://"])
def test_a_join_that_died_while_it_wrote_is_done_again(tmp_path: Path, scheme: str) -> None:
    """Also where the output of the input's state before, or a beginning, has the name."""
    file, output = joined_from(tmp_path, scheme)
    target = tmp_path / "out/a.jsonl.parquet"
    for before in (b"", b"PAR1 and more", None):
        if before is None:
            write_parquet(target, id=["of another state"])
        else:
            target.write_bytes(before)
        join_parts(file, PARTS, output)
        assert pq.read_table(target).column("id").to_pylist() == ["0", "1"]
        joined_from(tmp_path)


def test_failures_of_a_part_that_are_missing_are_not_left_out_in_silence(tmp_path: Path) -> None:
    file, output = joined_from(tmp_path)
    (tmp_path / "out/_parts/run/1.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"_parts/run/1\.jsonl"):
        join_parts(file, PARTS, output)
    assert output.folder.files() == []
