"""One service with the embedded model, shared by all tests that only ask it things."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from model import embedder
from model.embedder import Embedder
from tests.checkpoints import MINI
from tests.server import Service, running


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    names = "jina-embeddings-v3,text-embedding-3-small"
    with running(served_model_names=names, data_dir=tmp_path_factory.mktemp("data")) as service:
        yield service


@pytest.fixture(scope="session")
def engine(original: Path) -> Iterator[Service]:
    """A service whose batches and queue are small, and which computes what is sent again. Its model
    is small too, so that bulk takes seconds on any machine. A test may suspend, resume or kill its
    worker, which comes back."""
    bounds = {"max_batch_tokens": 128, "max_queue_tokens": 100_000, "cache_bytes": 0}
    with running(model=original, cpu_threads=1, **bounds) as service:
        yield service


@pytest.fixture(scope="session")
def impatient(original: Path) -> Iterator[Service]:
    """A service that gives up soon: on requests first, on a worker that hangs a moment later."""
    patience = {"request_timeout_s": 0.5, "batch_timeout_s": 1}
    with running(model=original, cpu_threads=1, cache_bytes=0, **patience) as service:
        yield service


@pytest.fixture(scope="session")
def quintet() -> Embedder:
    """The same model in this process, dtype and all, which embeds one text at a time."""
    return embedder.load(MINI)


@pytest.fixture(scope="session")
def precise() -> Embedder:
    """The same model in float32."""
    return embedder.load(MINI, "cpu", "float32")
