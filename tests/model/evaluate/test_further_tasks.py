"""A task beyond the five of jina-embeddings-v3 is measured, and shown by its name."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from model.evaluate.datasets import Dataset, Sampling
from model.evaluate.evaluation import evaluate, read_datasets
from model.evaluate.pictures import quality_by_dimensions
from model.evaluate.progress import characters_of
from model.evaluate.scoring import KINDS, TASKS, Metric
from model.evaluate.table import WIDTH, table
from model.rows import Vectors
from tests.checkpoints import Shape, random_tensors, write_original
from tests.model.evaluate import data
from tests.model.evaluate.test_command import main
from tests.model.evaluate.test_scoring import RandomModel

FIVE = RandomModel.tasks


class WithIntents(RandomModel):
    """It has a further task, which embeds as another one does, and counts what it embeds."""

    tasks = (*FIVE, "intents")

    def __init__(self, embeds_as: str) -> None:
        super().__init__()
        self.embeds_as, self.characters = embeds_as, 0

    def embed(self, texts: Sequence[str], task: str | None) -> Vectors:
        self.characters += sum(map(len, texts))
        return super().embed(texts, self.embeds_as if task == "intents" else task)

    def embed_documents(self, documents: Sequence[Sequence[str]], task: str | None) -> Vectors:
        assert task != "intents", "late chunking is not measured with it"
        before = self.characters
        vectors = super().embed_documents(documents, task)
        self.characters = before + sum(len(chunk) for chunks in documents for chunk in chunks)
        return vectors


@pytest.fixture(scope="module")
def datasets(folder: Path) -> list[Dataset]:
    return read_datasets(folder, Sampling())[0]


@pytest.mark.parametrize("embeds_as", ["text-matching", "classification", "separation"])
def test_its_values_are_those_of_the_task_that_embeds_alike(
    datasets: list[Dataset], embeds_as: str
) -> None:
    model = WithIntents(embeds_as)
    metrics = {each.key: each for each in evaluate(model, datasets, seed=0).metrics}
    usual = [each for each in metrics.values() if not each.task]
    assert {each.kind for each in usual} == set(KINDS)
    assert len(metrics) == len(usual) + sum(each.kind != "late chunking" for each in usual)
    for metric in usual:
        other = metrics.get((*metric.key, "intents"))
        if metric.kind == "late chunking":
            assert other is None
        else:
            assert other is not None
            assert other.none == metric.none
            if TASKS[metric.kind] == (embeds_as,):
                assert other.adapter == metric.adapter
    assert model.characters == characters_of(datasets, ["intents", None])


def test_it_is_shown_in_the_table_and_left_out_of_the_pictures(datasets: list[Dataset]) -> None:
    metrics = evaluate(WithIntents("separation"), datasets, seed=0).metrics
    shown = list(table(metrics))
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
    for some in (metrics, [each for each in metrics if not each.task]):
        figure = quality_by_dimensions([("a", some)])
        assert figure is not None
        curves = [curve for axes in figure.axes for curve in axes.get_lines()]
        drawn.append([np.asarray(curve.get_ydata()).tolist() for curve in curves])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(("rows", "warned"), [(99, True), (100, False)])
def test_a_metric_of_few_texts_is_marked(rows: int, warned: bool) -> None:
    metric = Metric("sts", "pairs", "en", "Spearman", rows, {8: 0.5}, {})
    other = Metric("sts", "pairs", "de", "Spearman", 4000, {8: 0.5}, {})
    shown = "\n".join(table([metric, other]))
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
