"""One real service for all tests that only ask it things, and scripted ones."""

from collections.abc import Iterator

import pytest

from tests.app.tools.command import Command
from tests.app.tools.scripted import Scripted, scripted_service
from tests.server import Service, running


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with running() as service:
        yield service


@pytest.fixture(autouse=True)
def _no_command_is_left() -> Iterator[None]:
    yield
    Command.end_all()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with scripted_service() as scripted:
        yield scripted
