"""A run that is killed at any point, and started again, ends with the same weights and curve."""

import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.model.training.records import labelled, log_of, teach, write

KILLS = 3


def lives(out: Path, options: list[object], last: float, counted: Connection) -> None:
    """Run the command until it touches its folder for the `last` time, then die like by kill -9.

    Opening and renaming files are what the interpreter tells an audit hook; between two of them
    nothing on the disk changes.
    """
    touched = 0

    def count(event: str, about: tuple[object, ...]) -> None:
        nonlocal touched
        if event in ("open", "os.rename") and str(about[0]).startswith(str(out)):
            touched += 1
            if touched >= last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    status = teach(*options, "--out", out)
    counted.send(touched)
    sys.exit(status)


@pytest.fixture(scope="module")
def run() -> Callable[..., tuple[int | None, int]]:
    """Runs the command in a process of its own: exit status (negative: the signal), touches."""
    context = multiprocessing.get_context("forkserver")
    # Imports take seconds; the server has them, and each run is a fork of it.
    context.set_forkserver_preload(["tests.model.training.test_resume"])

    def run(out: Path, options: list[object], last: float = float("inf")) -> tuple[int | None, int]:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=lives, args=(out, options, last, sender))
        process.start()
        sender.close()
        process.join()
        return process.exitcode, receiver.recv() if process.exitcode == 0 else 0

    return run


def test_killed_at_three_random_points_the_weights_are_the_same(
    tmp_path: Path, original: Path, run: Callable[..., tuple[int | None, int]]
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed: {seed}")
    draw = random.Random(seed)
    data = write(tmp_path / "data.jsonl", labelled())
    options: list[object] = ["--base", original, "--task", "mine", "--data", data]
    options += ["--batch-size", 16, "--max-steps", 14, "--validate-every", 3, "--patience", 99]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    status, touches = run(whole, options)
    assert status == 0
    for _ in range(KILLS):
        status, _ = run(broken, options, draw.randrange(1, touches))
        if status == 0:  # what was left to do touched less than was drawn
            break
        assert status == -signal.SIGKILL
    if status != 0:
        assert run(broken, options)[0] == 0
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
    there = [path.relative_to(broken) for path in sorted(broken.rglob("*")) if path.is_file()]
    assert there == files
    for file in files:
        assert (broken / file).read_bytes() == (whole / file).read_bytes(), file
    assert [line["step"] for line in log_of(broken) if "loss" in line] == list(range(1, 15))


def test_a_run_goes_on_with_the_same_settings_only(
    tmp_path: Path,
    original: Path,
    run: Callable[..., tuple[int | None, int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, out = write(tmp_path / "data.jsonl", labelled()), tmp_path / "out"
    options: list[object] = ["--base", original, "--task", "mine", "--data", data, "--max-steps", 2]
    assert run(out, options, 9)[0] == -signal.SIGKILL
    assert teach(*options, "--out", out, "--seed", 1) == 2
    assert "has an interrupted run with seed 0, not 1" in capsys.readouterr().err
    write(data, labelled(19))
    assert teach(*options, "--out", out) == 2
    assert "has an interrupted run with data 'data.jsonl, sha256" in capsys.readouterr().err
    write(data, labelled())
    assert teach(*options, "--out", out) == 0
    assert teach(*options, "--out", out) == 2
    assert "has a finished run" in capsys.readouterr().err
