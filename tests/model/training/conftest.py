"""Fixtures of the training's tests."""

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState

from tests.model.training import processes


@pytest.fixture(scope="session")
def command() -> processes.Command:
    """Runs the command in another process."""
    return processes.command()


@pytest.fixture(autouse=True)
def reset_accelerator() -> Iterator[None]:
    """Reset the state in which Accelerate keeps the precision of a process' first run."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
