"""`quintet corpus` as people run it, on a Ray of its own: `make test-operations`."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from model import embedder
from tests.app.tools.command import read_jsonl
from tests.checkpoints import Shape, write_original
from tests.model.corpus.commands import ROOT, Corpus, rows, run
from tests.model.corpus.corpora import sentence, write_jsonl, write_parquet
from tests.waiting import wait_until

pytestmark = pytest.mark.operations

PARTS = 60
TASK = "retrieval.passage"


def texts_of(file: int, count: int = PARTS * 2) -> list[str]:
    return [sentence(file * 1000 + number) for number in range(count)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three files of small texts."""
    for file in range(3):
        texts = enumerate(texts_of(file))
        write_jsonl(
            tmp_path / f"in/{file}.jsonl", ({"id": f"{file}-{i}", "text": t} for i, t in texts)
        )
    return tmp_path / "in"


def assert_whole(output: Path, checkpoint: Path) -> None:
    """Each text of `source` has its vector, once and in its place."""
    quintet = embedder.load(checkpoint, "cpu", "float32")
    assert sorted(path.name for path in output.iterdir()) == [
        *(f"{file}.jsonl.parquet" for file in range(3)),
        "_corpus.json",
    ]
    for file in range(3):
        ids, vectors = rows(output / f"{file}.jsonl.parquet")
        texts = texts_of(file)
        assert ids == [f"{file}-{number}" for number in range(len(texts))]
        np.testing.assert_allclose(vectors, quintet.embed_texts(texts, TASK), atol=1e-5)


def small(checkpoint: Path, *more: object) -> list[object]:
    """Options for two actors that get two texts at a time."""
    model = ["--model", checkpoint, "--dtype", "float32"]
    return [*model, "--actors", 2, "--threads", 1, "--part-texts", 2, *more]


def test_a_folder_is_embedded_once_and_again_where_it_changed(
    tmp_path: Path, original: Path
) -> None:
    """From a folder where other things have the names of ours; what cannot be read is left out."""
    (tmp_path / "model.py").write_text("raise SystemExit('not ours')\n")
    texts = [sentence(number) for number in range(30)]
    write_jsonl(tmp_path / "in/a.jsonl", [*({"text": t} for t in texts), {"text": None}])
    write_parquet(tmp_path / "in/b/p.parquet", id=pa.array(range(30)), text=texts)
    (tmp_path / "in/broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "in/readme.txt").write_text("a")
    command = ["in", "out", "--model", original, "--dtype", "float32", "--threads", 1]
    status, said = run(*command, cwd=tmp_path)
    assert status == 2, said
    assert "left out: " in said
    assert "broken.parquet" in said
    assert "1 rows were left out; out/_errors says which and why." in said
    assert "warning: 1 files of in are neither Parquet nor JSONL." in said
    assert "2 files: 60 vectors of " in said
    expected = embedder.load(original, "cpu", "float32").embed_texts(texts, TASK)
    for name, ids in (
        ("a.jsonl.parquet", [f"a.jsonl:{number}" for number in range(30)]),
        ("b/p.parquet", [str(number) for number in range(30)]),
    ):
        found, vectors = rows(tmp_path / "out" / name)
        assert found == ids
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
    (failed,) = read_jsonl(tmp_path / "out/_errors/a.jsonl.jsonl")
    assert (failed["row"], failed["line"]) == (30, 31)
    # Readers of folders take the vectors alone.
    assert pa.dataset.dataset(tmp_path / "out").count_rows() == 60

    (tmp_path / "in/broken.parquet").unlink()
    before = (tmp_path / "out/a.jsonl.parquet").stat().st_mtime_ns
    write_parquet(tmp_path / "in/b/p.parquet", id=["new"], text=["new"])
    status, said = run(*command, cwd=tmp_path)
    assert status == 0, said
    assert "1 files (1 were finished before), 1 of them changed,: 1 vectors" in said
    assert rows(tmp_path / "out/b/p.parquet")[0] == ["new"]
    assert (tmp_path / "out/a.jsonl.parquet").stat().st_mtime_ns == before
    assert run(*command, cwd=tmp_path)[0] == 0


def test_vectors_of_another_kind_get_into_no_folder_that_has_some(
    tmp_path: Path, original: Path
) -> None:
    """Nothing is started for it, and nothing is written."""
    source = write_jsonl(tmp_path / "in/a.jsonl", [{"text": "a"}]).parent
    command = [source, tmp_path / "out", "--dtype", "float32", "--threads", 1, "--model"]
    assert run(*command, original)[0] == 0
    written = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    write_jsonl(tmp_path / "in/b.jsonl", [{"text": "b"}])
    other = write_original(tmp_path / "other", Shape(width=96))
    for more, said in (
        ([original, "--task", "separation"], "the embedding space"),
        ([original, "--dimensions", 16], "whose --dimensions was None, and now is 16"),
        ([other], "the embedding space"),
        ([original, "--column", "body"], "no field 'body'; there is 'text'"),
    ):
        status, told = run(*command, *more)
        assert (status, said in told) == (1, True), told
        assert told.startswith("error: ")
        assert len(told.splitlines()) == 1
    # Also where somebody removed what the run wrote down.
    (tmp_path / "out/_corpus.json").unlink()
    status, told = run(*command, other)
    assert (status, "has vectors of the embedding space" in told) == (1, True), told
    assert {path: path.read_bytes() for path in (tmp_path / "out").glob("*.parquet")} == {
        path: content for path, content in written.items() if path.suffix == ".parquet"
    }


def parts_written(output: Path) -> int:
    """At least so many; while a file's are joined they are not all counted."""
    joined = PARTS * len([*output.glob("*.parquet")])
    return joined + len([*output.glob("_parts/*/*.parquet")])


def kill_an_actor(corpus: Corpus, output: Path) -> None:
    """kill -9 of one of the two processes with a model, in the middle of the run and of its work:
    it is stopped first, until the other one has done more than was in hand."""
    wait_until(lambda: parts_written(output) >= 10, "ten parts are written", 150)
    actors = corpus.descendants("EmbedParts")
    assert len(actors) == 2
    actors[0].suspend()
    more = parts_written(output) + 20
    wait_until(lambda: parts_written(output) >= more, "the other one goes on", 150)
    assert len([*output.glob("*.parquet")]) < 3, "it is too late"
    actors[0].kill()
    psutil.wait_procs([actors[0]], timeout=60)


def test_a_model_process_that_dies_loses_nothing_and_doubles_nothing(
    source: Path, tmp_path: Path, original: Path
) -> None:
    output = tmp_path / "out"
    corpus = Corpus(source, output, *small(original))
    kill_an_actor(corpus, output)
    status, said = corpus.wait()
    assert status == 0, said
    assert "3 files: 360 vectors" in said
    assert_whole(output, original)


def test_without_retries_the_same_death_ends_the_run(
    source: Path, tmp_path: Path, original: Path
) -> None:
    """The control: the process that dies has work. And the next run finishes it."""
    output = tmp_path / "out"
    corpus = Corpus(source, output, *small(original, "--retries", 0))
    kill_an_actor(corpus, output)
    status, said = corpus.wait()
    assert status == 1, said
    assert "error: " in said
    assert len([*output.glob("*.parquet")]) < 3
    assert run(source, output, *small(original))[0] == 0
    assert_whole(output, original)


def test_a_part_that_is_told_of_twice_counts_once() -> None:
    """Whatever the order in which parts are written."""
    from model.corpus.run import FileParts

    parts = FileParts()
    rows = [
        {"part": part, "last": part == 2, "broken": None, "name": name, "failed": part}
        for part, name in ((2, "c"), (0, "a"), (0, "again"), (1, "b"))
    ]
    assert [parts.add(row) for row in rows] == [False, False, False, True]
    assert parts.ordered == [("again", 0), ("b", 1), ("c", 2)]


def test_a_machine_that_goes_off_loses_no_file_that_was_finished(
    source: Path, tmp_path: Path, original: Path
) -> None:
    output = tmp_path / "out"
    corpus = Corpus(source, output, *small(original))
    wait_until(lambda: [*output.glob("*.parquet")], "a file is finished", 150)
    corpus.kill()
    finished = {path: path.stat().st_mtime_ns for path in output.glob("*.parquet")}
    status, said = run(source, output, *small(original))
    assert status == 0, said
    assert_whole(output, original)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def test_a_filesystem_of_fsspec_is_read_and_written(tmp_path: Path, original: Path) -> None:
    """By each process for itself; it writes files under their names, as object stores do."""
    texts = texts_of(0, 40)
    write_parquet(tmp_path / "in/deep/p.parquet", text=texts)
    command = [f"local://{tmp_path}/in", f"local://{tmp_path}/out", *small(original)]
    status, said = run(*command)
    assert status == 0, said
    ids, vectors = rows(tmp_path / "out/deep/p.parquet")
    assert ids == [f"deep/p.parquet:{number}" for number in range(40)]
    quintet = embedder.load(original, "cpu", "float32")
    np.testing.assert_allclose(vectors, quintet.embed_texts(texts, TASK), atol=1e-5)
    status, said = run(*command)
    assert status == 0, said
    assert "0 files (1 were finished before)" in said
    files = {path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {tmp_path / "out/_corpus.json", tmp_path / "out/deep/p.parquet"}


def test_the_readmes_pipeline_runs(tmp_path: Path) -> None:
    """model/corpus/README.md's code, in a program of its own."""
    text = (ROOT / "model/corpus/README.md").read_text(encoding="utf-8")
    (code,) = text.split("```python\n")[1:]
    write_parquet(tmp_path / "passages/p.parquet", text=["One.", "Two."], key=[1, 2])
    start = "import ray\nray.init(address='local', num_cpus=3, include_dashboard=False)\n"
    program = tmp_path / "program.py"
    program.write_text(start + code.split("```")[0])
    done = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    table = pq.read_table(tmp_path / "vectors")
    assert table.schema.names == ["text", "key", "embedding"]
    expected = embedder.load("quintet-mini").embed_texts(["One.", "Two."], TASK)
    found = np.array(table["embedding"].to_pylist())
    assert (np.sum(found * expected, axis=1) > 0.999).all()
