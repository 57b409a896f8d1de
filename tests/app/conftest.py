"""One service with the embedded model, shared by all tests that only ask it things."""

from collections.abc import Iterator

import pytest

from model import embedder
from model.embedder import Embedder
from tests.checkpoints import MINI
from tests.server import Service, running


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with running(served_model_names="jina-embeddings-v3,text-embedding-3-small") as service:
        yield service


@pytest.fixture(scope="session")
def quintet() -> Embedder:
    """The same model in this process, dtype and all, which embeds one text at a time."""
    return embedder.load(MINI)


@pytest.fixture(scope="session")
def precise() -> Embedder:
    """The same model in float32."""
    return embedder.load(MINI, "cpu", "float32")
