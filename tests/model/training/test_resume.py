"""A run that is killed at any point, and started again, ends with the same weights and curve."""

import random
import signal
from pathlib import Path

import pytest

from tests.model.training.processes import KILLS, Command
from tests.model.training.records import labelled, log_of, train_adapter, write


def test_killed_at_three_random_points_the_weights_are_the_same(
    tmp_path: Path, original: Path, command: Command
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed: {seed}")
    draw = random.Random(seed)
    data = write(tmp_path / "data.jsonl", labelled())
    options: list[object] = ["adapter", "--base", original, "--task", "mine", "--data", data]
    options += ["--batch-size", 16, "--max-steps", 14, "--validate-every", 3, "--patience", 99]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    status, touches = command(whole, options)
    assert status == 0
    for _ in range(KILLS):
        status, _ = command(broken, options, draw.randrange(1, touches))
        if status == 0:  # what was left to do touched less than was drawn
            break
        assert status == -signal.SIGKILL
    if status != 0:
        assert command(broken, options)[0] == 0
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
    there = [path.relative_to(broken) for path in sorted(broken.rglob("*")) if path.is_file()]
    assert there == files
    for file in files:
        assert (broken / file).read_bytes() == (whole / file).read_bytes(), file
    assert [line["step"] for line in log_of(broken) if "loss" in line] == list(range(1, 15))


def test_a_run_goes_on_with_the_same_settings_only(
    tmp_path: Path,
    original: Path,
    command: Command,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, out = write(tmp_path / "data.jsonl", labelled()), tmp_path / "out"
    options: list[object] = ["--base", original, "--task", "mine", "--data", data, "--max-steps", 2]
    assert command(out, ["adapter", *options], 9)[0] == -signal.SIGKILL
    assert train_adapter(*options, "--out", out, "--seed", 1) == 2
    assert "has an interrupted run with seed 0, not 1" in capsys.readouterr().err
    write(data, labelled(19))
    assert train_adapter(*options, "--out", out) == 2
    assert "has an interrupted run with data 'data.jsonl, sha256" in capsys.readouterr().err
    write(data, labelled())
    assert train_adapter(*options, "--out", out) == 0
    assert train_adapter(*options, "--out", out) == 2
    assert "has a finished run" in capsys.readouterr().err
