"""The lines judged by a slow and obvious version, on a subject whose vectors are drawn by text."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from model.evaluate.chunks import chunks_of
from model.evaluate.evaluation import evaluate, read_sets
from model.evaluate.lines import MEAN, PASSAGE, QUERY, Line
from model.evaluate.sets import Bounds, Questions, Set
from model.rows import Vectors


class Drawn:
    """Every text has a random vector of its own, another one for each task and each document."""

    name, sizes, has_none = "drawn", (8, 4), True
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
def sets(folder: Path) -> list[Set]:
    return read_sets(folder, Bounds())[0]


@pytest.fixture(scope="module")
def lines(sets: list[Set]) -> dict[tuple[str, ...], Line]:
    return {line.key: line for line in evaluate(Drawn(), sets, seed=0).lines}


def _cosine(a: Vectors, b: Vectors) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("size", Drawn.sizes)
@pytest.mark.parametrize("adapted", [True, False])
def test_questions_find_passages_by_themselves_and_by_their_best_chunk(
    sets: list[Set], lines: dict[tuple[str, ...], Line], size: int, adapted: bool
) -> None:
    (asked,) = (each for each in sets if isinstance(each, Questions))
    query, passage = (QUERY, PASSAGE) if adapted else (None, None)
    subject, right = Drawn(), {"whole": 0, "independent": 0, "late": 0}
    for question, answer in zip(asked.questions, asked.answers, strict=True):
        vector = subject.embed([question], query)[0, :size]
        found: dict[str, list[float]] = {way: [] for way in right}
        for text, title in zip(asked.passages, asked.titles, strict=True):
            document = [
                chunk
                for other, of in zip(asked.passages, asked.titles, strict=True)
                if of == title
                for chunk in chunks_of(other)
            ]
            late = dict(zip(document, subject.embed_documents([document], passage), strict=True))
            ways = {
                "whole": subject.embed([text], passage),
                "independent": subject.embed(chunks_of(text), passage),
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
        line = lines[measure]
        value = (line.adapter if adapted else line.none)[size]
        assert value == pytest.approx(right[way] / len(asked.questions)), way


def test_the_mean_is_of_the_languages(lines: dict[tuple[str, ...], Line]) -> None:
    de, en, mean = (lines["sts", "pairs", each, "Spearman"] for each in ("de", "en", MEAN))
    assert mean.rows == de.rows + en.rows
    for size in Drawn.sizes:
        assert mean.adapter[size] == pytest.approx((de.adapter[size] + en.adapter[size]) / 2)
        assert mean.none[size] == pytest.approx((de.none[size] + en.none[size]) / 2)


def test_each_kind_has_its_lines(lines: dict[tuple[str, ...], Line]) -> None:
    assert {(kind, measure) for kind, _, _, measure in lines} == {
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
