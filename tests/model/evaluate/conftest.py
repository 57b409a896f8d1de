"""A folder to evaluate on, and the embedded model behind a real service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model.evaluate import data
from tests.server import Service, running


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data.write_all(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """It has no default task, so that it also reads without an adapter."""
    with running(dtype="float32", default_task="none") as service:
        yield service
