"""Metrics agree with a slow and obvious computation, on random vectors of each text."""

import tracemalloc
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from model.evaluate.chunks import chunks_of
from model.evaluate.datasets import Dataset, Parallel, Questions, Sampling
from model.evaluate.evaluation import evaluate, read_datasets
from model.evaluate.scoring import MEAN, PASSAGE, QUERY, Metric
from model.rows import Vectors


class RandomModel:
    """Each text has a random vector, another one for each task and each document."""

    name, sizes, embeds_without_task = "random", (8, 4), True
    tasks = (QUERY, PASSAGE, "text-matching", "classification", "separation")

    def __init__(self) -> None:
        self.facts: dict[str, object] = {}

    def embed(self, texts: Sequence[str], task: str | None) -> Vectors:
        seeds = [zlib.crc32(f"{task} {text}".encode()) for text in texts]
        return np.stack([np.random.default_rng(seed).normal(size=8) for seed in seeds]).astype("f4")

    def embed_documents(self, documents: Sequence[Sequence[str]], task: str | None) -> Vectors:
        return np.concatenate(
            [
                self.embed([f"{' '.join(each)} {chunk}" for chunk in each], task)
                for each in documents
            ]
        )

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def datasets(folder: Path) -> list[Dataset]:
    return read_datasets(folder, Sampling())[0]


@pytest.fixture(scope="module")
def metrics(datasets: list[Dataset]) -> dict[tuple[str, ...], Metric]:
    return {each.key: each for each in evaluate(RandomModel(), datasets, seed=0).metrics}


def _cosine(a: Vectors, b: Vectors) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("size", RandomModel.sizes)
@pytest.mark.parametrize("adapted", [True, False])
def test_questions_find_passages_by_themselves_and_by_their_best_chunk(
    datasets: list[Dataset], metrics: dict[tuple[str, ...], Metric], size: int, adapted: bool
) -> None:
    (asked,) = (each for each in datasets if isinstance(each, Questions))
    query, passage = (QUERY, PASSAGE) if adapted else (None, None)
    model, right = RandomModel(), {"whole": 0, "independent": 0, "late": 0}
    for question, answer in zip(asked.questions, asked.answers, strict=True):
        vector = model.embed([question], query)[0, :size]
        found: dict[str, list[float]] = {way: [] for way in right}
        for text, title in zip(asked.passages, asked.titles, strict=True):
            document = [
                chunk
                for other, of in zip(asked.passages, asked.titles, strict=True)
                if of == title
                for chunk in chunks_of(other)
            ]
            late = dict(zip(document, model.embed_documents([document], passage), strict=True))
            ways = {
                "whole": model.embed([text], passage),
                "independent": model.embed(chunks_of(text), passage),
                "late": [late[chunk] for chunk in chunks_of(text)],
            }
            for way, vectors in ways.items():
                found[way].append(max(_cosine(vector, each[:size]) for each in vectors))
        for way, similarities in found.items():
            right[way] += int(np.argmax(similarities)) == answer
    assert len({len(chunks_of(text)) for text in asked.passages} - {1}) > 0, "no passage has chunks"
    for way, measure in (
        ("whole", ("retrieval", "questions", "en", "accuracy@1")),
        ("independent", ("late chunking", "questions", "en", "passage@1 independent")),
        ("late", ("late chunking", "questions", "en", "passage@1 late")),
    ):
        metric = metrics[measure]
        value = (metric.adapter if adapted else metric.none)[size]
        assert value == pytest.approx(right[way] / len(asked.questions)), way


def test_the_mean_is_of_the_languages(metrics: dict[tuple[str, ...], Metric]) -> None:
    de, en, mean = (metrics["sts", "pairs", each, "Spearman"] for each in ("de", "en", MEAN))
    assert mean.rows == de.rows + en.rows
    for size in RandomModel.sizes:
        assert mean.adapter[size] == pytest.approx((de.adapter[size] + en.adapter[size]) / 2)
        assert mean.none[size] == pytest.approx((de.none[size] + en.none[size]) / 2)


def test_each_kind_has_its_metrics(metrics: dict[tuple[str, ...], Metric]) -> None:
    assert {(kind, measure) for kind, _, _, measure in metrics} == {
        ("sts", "Spearman"),
        ("languages", "accuracy@1"),
        ("retrieval", "accuracy@1"),
        ("retrieval", "nDCG@10"),
        ("late chunking", "passage@1 independent"),
        ("late chunking", "passage@1 late"),
        ("late chunking", "nDCG@10 independent"),
        ("late chunking", "nDCG@10 late"),
        ("classification", "probe"),
        ("classification", "neighbours"),
        ("clustering", "v-measure"),
    }


def test_the_cosines_of_many_translations_are_never_in_memory_at_once() -> None:
    count = 6000
    sides = (tuple(f"{lang} {number}" for number in range(count)) for lang in "ab")
    tracemalloc.start()
    evaluate(RandomModel(), [Parallel("many", "a-b", *sides)], seed=0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < count * count * 4
