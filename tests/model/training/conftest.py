"""Fixtures of the training's tests."""

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState

from tests.model.training import processes


@pytest.fixture(scope="session")
def command() -> processes.Command:
    """Runs the command in a process of its own."""
    return processes.command()


@pytest.fixture(autouse=True)
def own_accelerator() -> Iterator[None]:
    """Accelerate keeps the precision of a process' first run; a test must not hand its own on."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
