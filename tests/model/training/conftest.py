"""Fixtures of the training's tests."""

import pytest

from tests.model.training import processes


@pytest.fixture(scope="session")
def command() -> processes.Command:
    """Runs the command in a process of its own."""
    return processes.command()
