"""A checkpoint in process and the same behind a service are the same to an evaluation."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from app.tools.evaluated_service import EvaluatedService
from model.evaluate.datasets import Sampling
from model.evaluate.embedding_cache import EmbeddingCache, unit
from model.evaluate.errors import EvaluationError
from model.evaluate.evaluation import evaluate, read_datasets
from model.evaluate.inprocess import Checkpoint, LoadOptions
from model.evaluate.scoring import KINDS
from tests.checkpoints import Shape, write_original
from tests.model.evaluate import data
from tests.server import running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data.write_all(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return Checkpoint("quintet-mini", LoadOptions(dtype="float32"))


@pytest.fixture(scope="module")
def evaluated() -> Iterator[EvaluatedService]:
    """It has no default task, so that it also reads without an adapter."""
    with (
        running(dtype="float32", default_task="none") as service,
        closing(EvaluatedService(service.url)) as evaluated,
    ):
        yield evaluated


@pytest.mark.parametrize("task", [None, "retrieval.query", "retrieval.passage", "separation"])
def test_vectors_in_process_are_the_services(
    checkpoint: Checkpoint, evaluated: EvaluatedService, task: str | None
) -> None:
    texts = [record["passage"] for record in data.questions()] + ["word"] * 70 + ["ein Wort " * 40]
    for size in (384, 32):
        here, there = (
            EmbeddingCache(each).texts(texts, task, size) for each in (checkpoint, evaluated)
        )
        np.testing.assert_allclose(here, there, atol=1e-5)
        documents = [texts[:5], texts[5:9]]
        late, late_there = (
            EmbeddingCache(each).documents(documents, task, size)
            for each in (checkpoint, evaluated)
        )
        np.testing.assert_allclose(late, late_there, atol=1e-5)
        assert np.abs(late - here[:9]).max() > 0.01, "late chunking changed nothing"


@pytest.mark.training
def test_metrics_in_process_are_the_services(
    checkpoint: Checkpoint, evaluated: EvaluatedService, folder: Path
) -> None:
    datasets, _ = read_datasets(folder, Sampling())
    here, there = (evaluate(each, datasets, seed=0).metrics for each in (checkpoint, evaluated))
    assert {metric.kind for metric in here} == set(KINDS)
    assert [metric.key for metric in here] == [metric.key for metric in there]
    for ours, theirs in zip(here, there, strict=True):
        assert ours.none, "no column without adapter"
        assert ours.adapter == pytest.approx(theirs.adapter, abs=1e-6), ours.key
        assert ours.none == pytest.approx(theirs.none, abs=1e-6), ours.key


def test_a_short_limit_and_a_default_task(tmp_path: Path, folder: Path) -> None:
    """What is over the limit is cut and not refused; with a default task "none" cannot be asked."""
    model = write_original(tmp_path, Shape())
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 34}))
    here = Checkpoint(str(model), LoadOptions(dtype="float32"))
    long, task = ["word " * 20, "word " * 60], "retrieval.passage"
    with (
        running(model=model, dtype="float32") as service,
        closing(EvaluatedService(service.url)) as evaluated,
    ):
        assert not evaluated.embeds_without_task
        datasets, _ = read_datasets(folder, Sampling())
        assert not any(metric.none for metric in evaluate(evaluated, datasets[:1], seed=0).metrics)
        for way in (evaluated.embed, evaluated.embed_documents):
            texts = long if way == evaluated.embed else [long]
            there = unit(way(texts, task), 64)
            ours = getattr(here, way.__name__)(texts, task)
            np.testing.assert_allclose(unit(ours, 64), there, atol=1e-5)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1:9", "nothing answers at http://127.0.0.1:9"),
        ("http://127.0.0.1:x", "http://127.0.0.1:x"),
    ],
)
def test_a_service_that_is_not_there_is_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        EvaluatedService(url)
    assert sentence in str(caught.value)


def test_a_refused_request_is_a_sentence(evaluated: EvaluatedService) -> None:
    with pytest.raises(EvaluationError, match=r"answers 422: .*unknown task 'nonsense'"):
        evaluated.embed(["text"], "nonsense")
