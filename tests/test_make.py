"""Makefile: what it installs, and when. pip is a script that writes down what it is asked for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PINNED = "install --disable-pip-version-check -c constraints.txt"


class Checkout:
    """A folder with the project's own Makefile and a virtual environment of two scripts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "pip.log"
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        script(folder / ".venv/bin/pip", f'echo "$@" >> {self._log}')
        script(folder / ".venv/bin/python", 'echo "python $@"')

    def make(self, *arguments: str) -> tuple[int, str, list[str]]:
        """Exit status, what is printed, and what pip was asked for."""
        self._log.write_text("")
        # Not as a part of the `make test` that runs this, whose options it would take over.
        others = {name: each for name, each in os.environ.items() if "MAKE" not in name}
        options = {"cwd": self.folder, "env": others, "capture_output": True, "text": True}
        done = subprocess.run(["make", *arguments], check=False, **options)
        return done.returncode, done.stdout + done.stderr, self._log.read_text().splitlines()

    def pull(self) -> None:
        """As if another version of the project had come."""
        later = (self.folder / ".venv/.serve").stat().st_mtime + 10
        os.utime(self.folder / "pyproject.toml", (later, later))


def script(path: Path, line: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_extras_are_installed_once_with_the_pins_and_nothing_is_served(checkout: Checkout) -> None:
    status, printed, asked = checkout.make("extras=redis,tracing")
    assert status == 0, printed
    assert asked == [f"{PINNED} -e .[redis]", f"{PINNED} -e .[tracing]"]
    assert "python" not in printed
    assert checkout.make("extras=redis")[2] == []


def test_serve_installs_what_is_missing_and_then_serves(checkout: Checkout) -> None:
    status, printed, asked = checkout.make()
    assert (status, asked) == (0, [f"{PINNED} -e ."])
    assert printed.endswith("python -m app serve\n")
    _, printed, asked = checkout.make("serve", "extras=redis")
    assert asked == [f"{PINNED} -e .[redis]"]
    assert printed.endswith("python -m app serve\n")
    assert checkout.make()[2] == []


def test_extras_are_kept_up_to_date_with_the_project(checkout: Checkout) -> None:
    checkout.make("extras=redis")
    checkout.pull()
    assert checkout.make()[2] == [f"{PINNED} -e .[redis]"]


def test_an_extra_that_is_none_is_refused(checkout: Checkout) -> None:
    status, printed, asked = checkout.make("extras=reddis")
    assert (status, asked) == (2, [])
    assert "there is no extra reddis" in printed
    assert checkout.make("extras=packages")[0] == 2  # another list of that file


def test_what_is_compiled_against_torch_sees_the_torch_that_is_installed(
    checkout: Checkout,
) -> None:
    _, _, asked = checkout.make("extras=flash-attn")
    assert asked[0] == f"{PINNED} -e ."
    assert asked[-1] == f"{PINNED} --no-build-isolation -e .[flash-attn]"


def test_a_python_that_will_not_do_gets_a_sentence(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / ".venv")
    real = f'exec {sys.executable} "$@"'
    bare = script(checkout.folder / "bare", f'case "$2" in *ensurepip*) exit 1;; esac\n{real}')
    status, printed, _ = checkout.make(f"PYTHON={bare}")
    assert status == 2
    assert "apt install python3-venv" in printed
    old = script(checkout.folder / "old", 'case "$2" in *version_info*) exit 1;; esac')
    status, printed, _ = checkout.make(f"PYTHON={old}")
    assert status == 2
    assert "needs Python 3.11 or newer" in printed
