"""A task beyond jina-embeddings-v3's five, one that was taught, is measured and shown by name."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from model.evaluate.evaluation import evaluate, read_sets
from model.evaluate.lines import KINDS, TASKS, Line
from model.evaluate.pictures import quality_by_dimensions
from model.evaluate.progress import characters_of
from model.evaluate.sets import Bounds, Set
from model.evaluate.table import WIDTH, table
from model.rows import Vectors
from tests.checkpoints import Shape, random_tensors, write_original
from tests.model.evaluate import data
from tests.model.evaluate.test_command import main
from tests.model.evaluate.test_lines import Drawn

FIVE = Drawn.tasks


class Taught(Drawn):
    """It has a further task, which reads as another one does, and counts what it embeds."""

    tasks = (*FIVE, "intents")

    def __init__(self, read_as: str) -> None:
        super().__init__()
        self.read_as, self.characters = read_as, 0

    def embed(self, texts: Sequence[str], task: str | None) -> Vectors:
        self.characters += sum(map(len, texts))
        return super().embed(texts, self.read_as if task == "intents" else task)

    def embed_documents(self, documents: Sequence[Sequence[str]], task: str | None) -> Vectors:
        assert task != "intents", "late chunking is not measured with it"
        before = self.characters
        vectors = super().embed_documents(documents, task)
        self.characters = before + sum(len(chunk) for chunks in documents for chunk in chunks)
        return vectors


@pytest.fixture(scope="module")
def sets(folder: Path) -> list[Set]:
    return read_sets(folder, Bounds())[0]


@pytest.mark.parametrize("read_as", ["text-matching", "classification", "separation"])
def test_its_values_are_those_of_the_task_that_reads_alike(sets: list[Set], read_as: str) -> None:
    subject = Taught(read_as)
    lines = {line.key: line for line in evaluate(subject, sets, seed=0).lines}
    own = [line for line in lines.values() if not line.task]
    assert {line.kind for line in own} == set(KINDS)
    assert len(lines) == len(own) + sum(line.kind != "late chunking" for line in own)
    for line in own:
        other = lines.get((*line.key, "intents"))
        if line.kind == "late chunking":
            assert other is None
        else:
            assert other is not None
            assert other.none == line.none
            if TASKS[line.kind] == (read_as,):
                assert other.adapter == line.adapter
    assert subject.characters == characters_of(sets, ["intents", None])


def test_it_is_told_in_the_table_and_left_out_of_the_pictures(sets: list[Set]) -> None:
    lines = evaluate(Taught("separation"), sets, seed=0).lines
    shown = list(table(lines))
    assert max(map(len, shown)) <= WIDTH
    titles = [line for line in shown if ", task " in line]
    both = "task retrieval.query and retrieval.passage"
    assert [title[:44].rstrip() for title in titles] == [
        "STS, task text-matching",
        "STS, task intents",
        "LANGUAGES, task text-matching",
        "LANGUAGES, task intents",
        f"RETRIEVAL, {both}"[:43],
        "RETRIEVAL, task intents",
        f"LATE CHUNKING, {both}"[:43],
        "CLASSIFICATION, task classification",
        "CLASSIFICATION, task intents",
        "CLUSTERING, task separation",
        "CLUSTERING, task intents",
    ]
    assert {tuple(title.split()[-7:]) for title in titles} == {
        ("n", "8", "dim", "no", "task", "4", "dim"),
    }
    drawn = []
    for some in (lines, [line for line in lines if not line.task]):
        figure = quality_by_dimensions([("a", some)])
        assert figure is not None
        curves = [curve for axes in figure.axes for curve in axes.get_lines()]
        drawn.append([np.asarray(curve.get_ydata()).tolist() for curve in curves])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(("rows", "warned"), [(99, True), (100, False)])
def test_a_line_of_few_texts_is_marked(rows: int, warned: bool) -> None:
    line = Line("sts", "pairs", "en", "Spearman", rows, {8: 0.5}, {})
    other = Line("sts", "pairs", "de", "Spearman", 4000, {8: 0.5}, {})
    shown = "\n".join(table([line, other]))
    assert (f"{rows}*" in shown) is warned
    assert ("* n is under 100: " in shown) is warned
    assert "4000*" not in shown


def test_the_command_names_it_and_the_files_it_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "data", tmp_path / "out"
    folder.mkdir()
    data.write(folder / "labels.jsonl", data.labels())
    shape = Shape(tasks=("classification", "intents"))
    model = write_original(tmp_path / "model", shape, random_tensors(shape))
    given = ["--data", str(folder), "--model", str(model), "--dimensions", "8"]
    assert main([*given, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "task intents is measured on all of it but late chunking." in shown
    assert "CLUSTERING, task intents" in shown
    written = shown.partition("written:\n")[2].split()
    assert written == [str(out / "evaluation.json"), *written[1:]]
    assert {Path(path) for path in written} == {*out.iterdir()}
    tasks = {
        (each["kind"], each["task"]) for each in json.loads(Path(written[0]).read_text())["lines"]
    }
    assert tasks == {
        ("classification", ""),
        ("classification", "intents"),
        ("clustering", "intents"),
    }
    # A link to the outcome stays, and what cannot be written is a sentence.
    (out / "evaluation.json").rename(tmp_path / "real.json")
    (out / "evaluation.json").symlink_to(tmp_path / "real.json")
    assert main([*given, "--out", str(out)]) == 0
    assert (out / "evaluation.json").is_symlink()
    (out / "evaluation.json").unlink()
    (out / "evaluation.json").mkdir()
    capsys.readouterr()
    assert main([*given, "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith(f"error: cannot write to {out}: Is a directory")
    # A reader who has seen enough is no error.
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "app", "evaluate", *given]
    with os.fdopen(writing, "wb") as nobody:
        done = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
