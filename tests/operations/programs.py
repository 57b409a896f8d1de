"""The programs that an operator has. A missing one fails a test, since to skip checks nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"


def program(name: str) -> str:
    """Where a program is; those from Python packages stand beside the interpreter."""
    beside = Path(sys.executable).with_name(name)
    # Debian has some where only root looks.
    path = os.environ["PATH"] + ":/usr/local/sbin:/usr/sbin:/sbin"
    found = str(beside) if beside.exists() else shutil.which(name, path=path)
    assert found, f"{name} is not installed; .ci/run says which package has it"
    return found


def run(name: str, *arguments: object, **options: Any) -> str:
    """What a program prints; it fails the test unless it ends with 0."""
    command = [program(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def documents(text: str) -> list[dict[str, Any]]:
    """The objects of a YAML stream."""
    return list(yaml.safe_load_all(text))
