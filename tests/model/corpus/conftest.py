"""No test of corpora leaves a command behind."""

from collections.abc import Iterator

import pytest

from tests.model.corpus.commands import Corpus


@pytest.fixture(autouse=True)
def _no_process_stays() -> Iterator[None]:
    yield
    Corpus.end_all()
