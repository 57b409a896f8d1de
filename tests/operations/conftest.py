"""A small service for hostile callers: little to compute, short patience."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Service, running

# Seconds; the product's own are some ten times longer.
PATIENCE = {"header_timeout_s": 1, "body_timeout_s": 1, "send_timeout_s": 2, "keep_alive_s": 3}


@pytest.fixture(scope="module")
def service(original: Path) -> Iterator[Service]:
    with running(model=original, max_connections=1100, **PATIENCE) as service:
        yield service
        assert "Traceback" not in service.log.text()
