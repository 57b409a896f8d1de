"""A service with a small model and batch jobs, for two keys."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.server import Service, bearer, running


class Served(NamedTuple):
    """A service, its folder of batch jobs, and a client of each of its two keys."""

    service: Service
    folder: Path
    one: httpx.Client
    other: httpx.Client


def key(file: Path, name: str) -> str:
    command = [sys.executable, "-m", "app", "keys", "--file", str(file), "add", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="package")
def served(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("batches")
    keys = {name: key(folder / "keys", name) for name in ("one", "other")}
    bounds = {"max_file_bytes": 200_000, "max_file_lines": 1000, "max_body_bytes": 50_000}
    settings = {"keys_file": folder / "keys", "data_dir": folder / "data", "http_processes": 2}
    with (
        running(model=original, cpu_threads=1, cache_bytes=0, **bounds, **settings) as service,
        service.client(headers=bearer(keys["one"])) as one,
        service.client(headers=bearer(keys["other"])) as other,
    ):
        yield Served(service, folder / "data", one, other)
