"""kill -9 at every step that touches the disk: each line is answered once, as if nothing was."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.app.batches.crashing import BAD_LINE, LINES

ROOT = Path(__file__).parents[3]
Swept = tuple[list[dict[str, Any]], dict[str, Any]]


def swept(folder: Path, *words: str) -> Swept:
    """What each crash led to, and an uninterrupted run."""
    command = [sys.executable, "-m", "tests.app.batches.crashing", str(folder), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    *crashes, last = map(json.loads, done.stdout.splitlines())
    return crashes, last["whole"]


def ids(text: str) -> list[str]:
    return [json.loads(line)["custom_id"] for line in text.splitlines()]


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    return swept(tmp_path_factory.mktemp("crashes"))


def test_wherever_it_is_killed_the_answers_are_those_of_a_run_that_was_not(
    protected: Swept,
) -> None:
    crashes, whole = protected
    assert whole["status"] == "completed"
    numbers = [f"c{n}" for n in range(1, LINES + 1)]
    assert ids(whole["files"]["errors"]) == [numbers.pop(BAD_LINE - 1)]
    assert ids(whole["files"]["output"]) == numbers
    assert len(crashes) > 40
    for each in crashes:
        if not each["cancel"]:
            assert {name: each[name] for name in whole} == whole, each["number"]


def test_a_job_that_is_cancelled_after_a_crash_has_whole_lines_of_what_was_done(
    protected: Swept,
) -> None:
    crashes, whole = protected
    cancelled = [each for each in crashes if each["status"] == "cancelled"]
    assert len(cancelled) > 20
    for each in cancelled:
        assert each["listed"] == len(each["files"])
        for name, text in each["files"].items():
            assert whole["files"][name].startswith(text)
            assert text.endswith("\n")


def test_without_the_protection_answers_are_there_twice(tmp_path: Path) -> None:
    """The control: the same kills, but answers are appended to whatever a crash has left."""
    crashes, whole = swept(tmp_path, "unprotected")
    wrong = [each for each in crashes if each["files"] != whole["files"] and not each["cancel"]]
    assert wrong
    doubled = [each for each in wrong if each["files"].get("output", "").count('"c1"') > 1]
    assert doubled
