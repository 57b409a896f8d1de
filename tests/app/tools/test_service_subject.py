"""A checkpoint in process and the same behind a service are the same to an evaluation."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from app.tools.service_subject import ServiceSubject
from model.evaluate.errors import EvaluationError
from model.evaluate.evaluation import evaluate, read_sets
from model.evaluate.inprocess import Checkpoint
from model.evaluate.lines import KINDS
from model.evaluate.reader import Reader, unit
from model.evaluate.sets import Bounds
from tests.checkpoints import Shape, write_original
from tests.model.evaluate import data
from tests.server import running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data.write_all(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return Checkpoint("quintet-mini", dtype="float32")


@pytest.fixture(scope="module")
def subject() -> Iterator[ServiceSubject]:
    """It has no default task, so that it also reads without an adapter."""
    with (
        running(dtype="float32", default_task="none") as service,
        closing(ServiceSubject(service.url)) as subject,
    ):
        yield subject


@pytest.mark.parametrize("task", [None, "retrieval.query", "retrieval.passage", "separation"])
def test_vectors_in_process_are_the_services(
    checkpoint: Checkpoint, subject: ServiceSubject, task: str | None
) -> None:
    texts = [record["passage"] for record in data.questions()] + ["word"] * 70 + ["ein Wort " * 40]
    for size in (256, 32):
        here, there = (Reader(each).texts(texts, task, size) for each in (checkpoint, subject))
        np.testing.assert_allclose(here, there, atol=1e-5)
        documents = [texts[:5], texts[5:9]]
        late, late_there = (
            Reader(each).documents(documents, task, size) for each in (checkpoint, subject)
        )
        np.testing.assert_allclose(late, late_there, atol=1e-5)
        assert np.abs(late - here[:9]).max() > 0.01, "late chunking changed nothing"


@pytest.mark.training
def test_metrics_in_process_are_the_services(
    checkpoint: Checkpoint, subject: ServiceSubject, folder: Path
) -> None:
    sets, _ = read_sets(folder, Bounds())
    here, there = (evaluate(each, sets, seed=0).lines for each in (checkpoint, subject))
    assert {line.kind for line in here} == set(KINDS)
    assert [line.key for line in here] == [line.key for line in there]
    for ours, theirs in zip(here, there, strict=True):
        assert ours.none, "no column without adapter"
        assert ours.adapter == pytest.approx(theirs.adapter, abs=1e-6), ours.key
        assert ours.none == pytest.approx(theirs.none, abs=1e-6), ours.key


def test_a_short_limit_and_a_default_task(tmp_path: Path, folder: Path) -> None:
    """What is over the limit is cut and not refused; with a default task "none" cannot be asked."""
    model = write_original(tmp_path, Shape())
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 34}))
    here = Checkpoint(str(model), dtype="float32")
    long, task = ["word " * 20, "word " * 60], "retrieval.passage"
    with (
        running(model=model, dtype="float32") as service,
        closing(ServiceSubject(service.url)) as subject,
    ):
        assert not subject.has_none
        sets, _ = read_sets(folder, Bounds())
        assert not any(line.none for line in evaluate(subject, sets[:1], seed=0).lines)
        for way in (subject.embed, subject.embed_documents):
            texts = long if way == subject.embed else [long]
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
        ServiceSubject(url)
    assert sentence in str(caught.value)


def test_a_refused_request_is_a_sentence(subject: ServiceSubject) -> None:
    with pytest.raises(EvaluationError, match=r"answers 422: .*unknown task 'nonsense'"):
        subject.embed(["text"], "nonsense")
