"""A checkpoint in process as the evaluated model; tests/app/tools has the service."""

import pytest

from model.evaluate.embedding_cache import EmbeddingCache
from model.evaluate.errors import EvaluationError
from model.evaluate.inprocess import Checkpoint, LoadOptions


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return Checkpoint("quintet-mini", LoadOptions(dtype="float32"))


def test_every_text_is_embedded_once_a_task(checkpoint: Checkpoint) -> None:
    embedded: list[str] = []
    embeddings = EmbeddingCache(checkpoint, embedded.extend)
    for size in (384, 64, 384):
        embeddings.texts(["a", "b", "a"], "separation", size)
        embeddings.documents([["c", "d"]], None, size)
    assert sorted(embedded) == ["a", "b", "c", "d"]
    embeddings.texts(["a"], None, 32)
    assert sorted(embedded) == ["a", "a", "b", "c", "d"]


def test_sizes_are_the_models_or_the_wanted_ones_and_always_the_width() -> None:
    assert Checkpoint("quintet-mini").sizes == (384, 256, 128, 64, 32)
    assert Checkpoint("quintet-mini", sizes=[100]).sizes == (384, 100)
    with pytest.raises(
        EvaluationError, match="--dimensions 500: this model's vectors have 1 to 384"
    ):
        Checkpoint("quintet-mini", sizes=[500])
