"""The command makes a checkpoint, and ends with the same one wherever it was interrupted."""

import json
import random
import signal
from pathlib import Path

import numpy as np
import pytest

from model import embedder
from tests.model.training.mini.corpus import write_corpora, write_teacher
from tests.model.training.processes import KILLS, Command
from tests.model.training.records import train

# Adapters need one step here: test_resume.py interrupts their training between steps.
SMALL = ("--vocabulary", 600, "--phrases", 60, "--table-steps", 8, "--adapter-steps", 1)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = tmp_path_factory.mktemp("text")
    corpora, teacher = write_corpora(folder / "corpora"), write_teacher(folder / "teacher")
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
    for task in ("none", *made.tasks.names):
        vectors = made.embed_texts(texts, task)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert vectors[0] @ vectors[1] < 0.999


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
    names = [path.relative_to(out) for path in sorted(out.rglob("*")) if path.is_file()]
    there = [path.relative_to(broken) for path in sorted(broken.rglob("*")) if path.is_file()]
    assert there == names
    for name in names:
        assert (broken / name).read_bytes() == (out / name).read_bytes(), name


def test_the_curve_is_logged(whole: tuple[Path, int]) -> None:
    log = whole[0] / "training" / "table" / "training" / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [line["validation"] for line in lines if "validation" in line]
    assert min(losses) < losses[0]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 9))


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
    assert "is no sentence encoder" in refusal(teacher=tmp_path)
    assert "27 pieces (67% of the vocabulary) cannot be learned" in refusal(vocabulary=40)
