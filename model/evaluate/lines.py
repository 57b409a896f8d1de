"""Lines: what is measured on each set, one line a measure, for each size, with and without adapter.

sts             Spearman of the cosines with people's scores                        text-matching
retrieval       questions among all passages of their set: accuracy@1, nDCG@10      retrieval.*
languages       a text's translation among all of the other language: accuracy@1,
                mean of both directions                                             text-matching
classification  accuracy of a probe and of the nearest neighbours                   classification
clustering      v-measure of k-means                                                separation
late chunking   questions among the chunks of all passages: the passage of the best chunk is the
                right one (passage@1), and nDCG@10 of passages by their best chunk; chunks read
                alone ("independent") or with their document ("late")               retrieval.*

Which chunk holds the answer is not known, hence a passage is right or wrong as a whole.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model.evaluate import metrics
from model.evaluate.chunks import chunks_of, documents_of
from model.evaluate.reader import Reader
from model.evaluate.sets import Labels, Pairs, Parallel, Questions, Set
from model.evaluate.subject import Subject

QUERY, PASSAGE = "retrieval.query", "retrieval.passage"
INDEPENDENT, LATE = "independent", "late"
LATE_MEASURES = ("passage@1", "nDCG@10")
# In the place of the language, for the mean over all languages of a file.
MEAN = "mean"

# kind, file, language, measure
Key = tuple[str, str, str, str]

# The adapters that a kind is read with.
TASKS = {
    "sts": ("text-matching",),
    "languages": ("text-matching",),
    "retrieval": (QUERY, PASSAGE),
    "late chunking": (QUERY, PASSAGE),
    "classification": ("classification",),
    "clustering": ("separation",),
}
# In the order of the table.
KINDS = tuple(TASKS)

Scores = dict[str, float]
# (with the adapter?, size) -> a score for each measure
Score = Callable[[bool, int], Scores]


@dataclass(frozen=True, slots=True)
class Line:
    """One measure on one set. `adapter` and `none` have a value for each size; `none` is empty
    where the subject does not read without an adapter. `rows` are the questions, pairs or texts."""

    kind: str
    file: str
    language: str
    measure: str
    rows: int
    adapter: dict[int, float]
    none: dict[int, float]

    @property
    def key(self) -> Key:
        """What tells it from the other lines of one evaluation."""
        return self.kind, self.file, self.language, self.measure

    def json(self) -> dict[str, Any]:
        """For the JSON file."""
        return asdict(self)


def lines_of(a_set: Set, reader: Reader, seed: int) -> Iterator[Line]:
    """All lines of a set, in the order in which the table has them."""
    match a_set:
        case Pairs():
            yield from _lines("sts", a_set, len(a_set.a), _sts(a_set, reader), reader)
        case Parallel():
            yield from _lines("languages", a_set, len(a_set.a), _languages(a_set, reader), reader)
        case Questions():
            rows = len(a_set.questions)
            yield from _lines("retrieval", a_set, rows, _retrieval(a_set, reader), reader)
            late = _late_chunking(a_set, reader)
            yield from _lines("late chunking", a_set, rows, late, reader)
        case Labels():
            rows = len(a_set.texts)
            probes = _classification(a_set, reader)
            yield from _lines("classification", a_set, rows, probes, reader)
            yield from _lines("clustering", a_set, rows, _clustering(a_set, reader, seed), reader)


def kinds_left_out(subject: Subject) -> list[str]:
    """The kinds that a subject has not the adapters for."""
    return [kind for kind, tasks in TASKS.items() if not set(tasks) <= set(subject.tasks)]


def _lines(kind: str, a_set: Set, rows: int, score: Score, reader: Reader) -> Iterator[Line]:
    subject = reader.subject
    if not set(TASKS[kind]) <= set(subject.tasks):
        return
    sizes = subject.sizes
    adapter = {size: score(True, size) for size in sizes}
    none = {size: score(False, size) for size in sizes} if subject.has_none else {}
    for measure in adapter[sizes[0]]:
        values = ({size: found[size][measure] for size in found} for found in (adapter, none))
        yield Line(kind, a_set.file, a_set.language, measure, rows, *values)


def _sts(pairs: Pairs, reader: Reader) -> Score:
    def score(adapted: bool, size: int) -> Scores:
        task = "text-matching" if adapted else None
        a, b = (reader.texts(side, task, size) for side in (pairs.a, pairs.b))
        return {"Spearman": metrics.spearman(a, b, pairs.scores)}

    return score


def _languages(parallel: Parallel, reader: Reader) -> Score:
    def score(adapted: bool, size: int) -> Scores:
        task = "text-matching" if adapted else None
        a, b = (reader.texts(side, task, size) for side in (parallel.a, parallel.b))
        answers = range(len(a))
        both = [metrics.accuracy_and_ndcg(x, answers)[0] for x in (a @ b.T, b @ a.T)]
        return {"accuracy@1": float(np.mean(both))}

    return score


def _retrieval(asked: Questions, reader: Reader) -> Score:
    def score(adapted: bool, size: int) -> Scores:
        queries = reader.texts(asked.questions, QUERY if adapted else None, size)
        passages = reader.texts(asked.passages, PASSAGE if adapted else None, size)
        accuracy, ndcg = metrics.accuracy_and_ndcg(queries @ passages.T, asked.answers)
        return {"accuracy@1": accuracy, "nDCG@10": ndcg}

    return score


def _late_chunking(asked: Questions, reader: Reader) -> Score:
    order = [passage for document in _documents(asked) for passage in document]
    texts = chunks_by_document(asked)
    counts = [len(chunks_of(asked.passages[passage])) for passage in order]
    starts = np.cumsum([0, *counts])[:-1]
    place = {passage: index for index, passage in enumerate(order)}
    answers = [place[answer] for answer in asked.answers]

    def score(adapted: bool, size: int) -> Scores:
        queries = reader.texts(asked.questions, QUERY if adapted else None, size)
        task = PASSAGE if adapted else None
        every = [chunk for document in texts for chunk in document]
        ways = {
            INDEPENDENT: reader.texts(every, task, size),
            LATE: reader.documents(texts, task, size),
        }
        found = {}
        for way, vectors in ways.items():
            best = np.maximum.reduceat(queries @ vectors.T, starts, axis=1)
            found[way] = metrics.accuracy_and_ndcg(best, answers)
        return {
            f"{measure} {way}": found[way][index]
            for index, measure in enumerate(LATE_MEASURES)
            for way in ways
        }

    return score


def _documents(asked: Questions) -> list[list[int]]:
    return documents_of(asked.passages, asked.titles)


def chunks_by_document(asked: Questions) -> list[list[str]]:
    """The chunks of each document of a set, in order."""
    return [
        [chunk for passage in document for chunk in chunks_of(asked.passages[passage])]
        for document in _documents(asked)
    ]


def _classification(labels: Labels, reader: Reader) -> Score:
    def score(adapted: bool, size: int) -> Scores:
        task = "classification" if adapted else None
        fit = reader.texts(labels.fit_texts, task, size)
        vectors = reader.texts(labels.texts, task, size)
        asked = (fit, labels.fit_labels, vectors, labels.labels)
        return {"probe": metrics.probe(*asked), "neighbours": metrics.neighbours(*asked)}

    return score


def _clustering(labels: Labels, reader: Reader, seed: int) -> Score:
    def score(adapted: bool, size: int) -> Scores:
        vectors = reader.texts(labels.texts, "separation" if adapted else None, size)
        return {"v-measure": metrics.v_measure(vectors, labels.labels, seed)}

    return score
