"""The command trains one adapter, leaves all else as it is, and the service serves the result."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model import embedder
from tests.model.training.records import labelled, log_of, pairs, scored, train_adapter, write
from tests.reference import Reference
from tests.server import running

SMALL = ("--batch-size", 24, "--learning-rate", 0.02, "--validate-every", 5, "--max-steps", 15)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory, original: Path) -> Path:
    """A checkpoint with a new task, trained on labelled texts."""
    folder = tmp_path_factory.mktemp("trained")
    data, out = write(folder / "data.jsonl", labelled()), folder / "out"
    new = ("--task", "mine", "--instruction", "Topic: ", "--seed", 3)
    assert train_adapter("--base", original, "--data", data, "--out", out, *new, *SMALL) == 0
    return out


def apartness(folder: Path, task: str) -> float:
    """How much nearer texts of one topic are than texts of two, on texts never learned from."""
    records = labelled(10, seed=99)
    loaded = embedder.load(folder, "cpu", "float32")
    vectors = loaded.embed_texts([record["text"] for record in records], task)
    labels = np.array([record["label"] for record in records])
    cosines, alike = vectors @ vectors.T, labels[:, None] == labels
    return float(cosines[alike].mean() - cosines[~alike].mean())


def test_a_new_task_is_learned(mine: Path) -> None:
    losses = [line["validation"] for line in log_of(mine) if "validation" in line]
    assert min(losses) < losses[0]
    assert apartness(mine, "mine") > apartness(mine, "none") + 0.1


def test_the_base_and_the_other_adapters_stay_as_they_are(mine: Path, hf: Path) -> None:
    """`hf` is the same checkpoint, written by another hand in the layout of the outcome."""
    for path in sorted(hf.rglob("*.safetensors")):
        ours, theirs = load_file(mine / path.relative_to(hf)), load_file(path)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), path


def test_transformers_and_peft_read_the_outcome_alike(mine: Path) -> None:
    loaded = embedder.load(mine, "cpu", "float32")
    rows = loaded.tokenizer.rows(["one small river"], loaded.tasks.by_name("mine")).rows
    np.testing.assert_allclose(
        Reference(mine).vectors(rows[0]), loaded.embed(rows), atol=1e-5, rtol=1e-4
    )


def test_the_service_serves_a_new_task_at_once(mine: Path) -> None:
    expected = embedder.load(mine, "cpu", "float32").embed_texts(["one small river"], "mine")
    with running(model=mine, dtype="float32", default_task="mine") as service:
        for task in ({"task": "mine"}, {}):
            answer = service.embed(input=["one small river"], **task).json()
            vector = answer["data"][0]["embedding"]
            np.testing.assert_allclose(vector, expected[0], atol=1e-5)
        refused = service.embed(input=["x"], task="yours")
        assert refused.status_code == 422
        assert "mine" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("task", "records", "changed"),
    [
        ("text-matching", scored(), {"text_matching"}),
        ("retrieval.query", pairs(), {"retrieval_query"}),
        ("retrieval", pairs(), {"retrieval_query", "retrieval_passage"}),
        ("separation", [{**each, "negative": "not this"} for each in pairs()], {"separation"}),
    ],
)
def test_a_slot_is_replaced_and_no_other(
    tmp_path: Path, hf: Path, task: str, records: list[dict], changed: set[str]
) -> None:
    data, out = write(tmp_path / "data.jsonl", records), tmp_path / "out"
    assert train_adapter("--base", hf, "--task", task, "--data", data, "--out", out, *SMALL) == 0
    losses = [line["validation"] for line in log_of(out) if "validation" in line]
    assert min(losses) < losses[0]
    for path in sorted(hf.glob("*/adapter_model.safetensors")):
        ours, theirs = load_file(out / path.relative_to(hf)), load_file(path)
        same = all(torch.equal(ours[name], theirs[name]) for name in theirs)
        assert same == (path.parent.name not in changed), path.parent.name
    assert json.loads((out / "config.json").read_text())["lora_adaptations"] == list(
        embedder.load(hf).tasks.names
    )


def test_a_run_stops_when_validation_gets_no_better_and_keeps_the_best(
    tmp_path: Path, original: Path
) -> None:
    data, out = write(tmp_path / "data.jsonl", labelled()), tmp_path / "out"
    wild = ("--learning-rate", 50, "--validate-every", 1, "--patience", 2, "--start", "none")
    where = ("--base", original, "--task", "separation", "--data", data, "--out", out)
    assert train_adapter(*where, *wild, "--epochs", 9) == 0
    losses = [line["validation"] for line in log_of(out) if "validation" in line]
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 2
    # The start is the best of a run this wild: what was written corrects nothing.
    assert best == 0
    assert apartness(out, "separation") == apartness(out, "none")


@pytest.mark.parametrize(
    ("option", "value"),
    [("seed", -1), ("seed", 2**64), ("learning-rate", "inf"), ("temperature", "nan")],
)
def test_numbers_that_mean_nothing_are_refused(
    tmp_path: Path, original: Path, capsys: pytest.CaptureFixture[str], option: str, value: object
) -> None:
    data, out = write(tmp_path / "data.jsonl", labelled()), tmp_path / "out"
    where = ("--base", original, "--task", "mine", "--data", data, "--out", out)
    with pytest.raises(SystemExit, match="2"):
        train_adapter(*where, f"--{option}", value, "--max-steps", 1)
    assert f"argument --{option}: must be " in capsys.readouterr().err
    assert not out.exists()


def test_a_file_to_validate_with_and_a_share_contradict_each_other(
    tmp_path: Path, original: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write(tmp_path / "data.jsonl", labelled()), tmp_path / "out"
    other = write(tmp_path / "other.jsonl", labelled(9, seed=1))
    where = ("--base", original, "--task", "mine", "--data", data, "--out", out, "--max-steps", 1)
    with pytest.raises(SystemExit, match="2"):
        train_adapter(*where, "--validation", other, "--validation-share", 0.3)
    assert "not allowed with argument --validation" in capsys.readouterr().err


def test_what_goes_wrong_is_a_sentence(
    tmp_path: Path, original: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write(tmp_path / "data.jsonl", labelled()), tmp_path / "out"

    def refusal(**changed: object) -> str:
        given = {"base": original, "task": "mine", "data": data, "out": out, **changed}
        options = [each for name, value in given.items() for each in (f"--{name}", value)]
        assert train_adapter(*options, "--max-steps", 1) == 2
        return capsys.readouterr().err

    assert "neither a folder nor a hub id" in refusal(base="./nowhere")
    assert "cannot be a task's name" in refusal(task="my task")
    assert "would have the folder of text-matching" in refusal(task="text.matching")
    assert "text-matching has its own" in refusal(task="text-matching", instruction="x")
    assert "--instruction is not UTF-8" in refusal(instruction="caf\udce9: ")
    assert "--batch-size 4: of labelled texts a batch needs 5" in refusal(**{"batch-size": 4})
    assert "the base has retrieval.query" in refusal(start="yours")
    assert "the data are labelled texts" in refusal(task="retrieval")
    assert "cannot read" in refusal(data=tmp_path / "nowhere")
    few = write(tmp_path / "few.jsonl", labelled(1))
    assert "no two records" in refusal(data=few)
    other = write(tmp_path / "pairs.jsonl", pairs())
    assert "--batch-size 1: of pairs a batch" in refusal(data=other, **{"batch-size": 1})
    assert "has pairs, the training file labelled texts" in refusal(validation=other)
    assert "is a file" in refusal(out=data)
    assert not out.exists()
    shutil.copytree(original, out)
    assert "is not empty" in refusal()
