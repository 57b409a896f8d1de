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

A task beyond these five, one that was taught anew, is measured on every set, too, in all of these
ways but late chunking: it reads both sides, and its lines have its name.
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

# kind, file, language, measure, and the task where it is not the kind's own
Key = tuple[str, ...]

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
# Who reads the first side of a set and who the last; None is the base without an adapter.
Reading = tuple[str | None, str | None]
# (reading, size) -> a score for each measure
Score = Callable[[Reading, int], Scores]


@dataclass(frozen=True, slots=True)
class Line:
    """One measure on one set. `adapter` and `none` have a value for each size; `none` is empty
    where the subject does not read without an adapter. `rows` are the questions, pairs or texts.
    `task` is "" where the kind's own adapters read, and else the one that does."""

    kind: str
    file: str
    language: str
    measure: str
    rows: int
    adapter: dict[int, float]
    none: dict[int, float]
    task: str = ""

    @property
    def key(self) -> Key:
        """What tells it from the other lines of one evaluation."""
        own = (self.kind, self.file, self.language, self.measure)
        return (*own, self.task) if self.task else own

    def json(self) -> dict[str, Any]:
        """For the JSON file."""
        return asdict(self)


def lines_of(a_set: Set, reader: Reader, seed: int) -> Iterator[Line]:
    """All lines of a set, kind by kind, and for each kind task by task."""
    for kind, score_of in _scores(a_set, reader, seed).items():
        readings = _readings(kind, reader.subject)
        none: dict[int, Scores] = {}
        if readings and reader.subject.has_none:
            none = {size: score_of((None, None), size) for size in reader.subject.sizes}
        for task, (first, last) in readings.items():
            found = {size: score_of((first, last), size) for size in reader.subject.sizes}
            for measure in found[reader.subject.sizes[0]]:
                adapter, base = (
                    {size: scores[measure] for size, scores in each.items()}
                    for each in (found, none)
                )
                where = (kind, a_set.file, a_set.language, measure)
                yield Line(*where, _rows(a_set), adapter, base, task)


def kinds_left_out(subject: Subject) -> list[str]:
    """The kinds that a subject has not the adapters for."""
    return [kind for kind, tasks in TASKS.items() if not set(tasks) <= set(subject.tasks)]


def further_tasks(subject: Subject) -> tuple[str, ...]:
    """The tasks that no kind has for its own."""
    own = {task for tasks in TASKS.values() for task in tasks}
    return tuple(task for task in subject.tasks if task not in own)


def _readings(kind: str, subject: Subject) -> dict[str, tuple[str, str]]:
    """Who reads the first side and who the last, by the name of a line's task."""
    own = TASKS[kind]
    readings = {"": (own[0], own[-1])} if set(own) <= set(subject.tasks) else {}
    further = () if kind == "late chunking" else further_tasks(subject)
    return readings | {task: (task, task) for task in further}


def _rows(a_set: Set) -> int:
    match a_set:
        case Pairs() | Parallel():
            return len(a_set.a)
        case Questions():
            return len(a_set.questions)
        case Labels():
            return len(a_set.texts)


def _scores(a_set: Set, reader: Reader, seed: int) -> dict[str, Score]:
    """What is measured on a set, by its kind."""
    match a_set:
        case Pairs():
            return {"sts": _sts(a_set, reader)}
        case Parallel():
            return {"languages": _languages(a_set, reader)}
        case Questions():
            return {
                "retrieval": _retrieval(a_set, reader),
                "late chunking": _late_chunking(a_set, reader),
            }
        case Labels():
            return {
                "classification": _classification(a_set, reader),
                "clustering": _clustering(a_set, reader, seed),
            }


def _sts(pairs: Pairs, reader: Reader) -> Score:
    def score(tasks: Reading, size: int) -> Scores:
        a, b = (reader.texts(side, tasks[0], size) for side in (pairs.a, pairs.b))
        return {"Spearman": metrics.spearman(a, b, pairs.scores)}

    return score


def _languages(parallel: Parallel, reader: Reader) -> Score:
    def score(tasks: Reading, size: int) -> Scores:
        a, b = (reader.texts(side, tasks[0], size) for side in (parallel.a, parallel.b))
        answers = range(len(a))
        both = [metrics.accuracy_and_ndcg(x, answers)[0] for x in (a @ b.T, b @ a.T)]
        return {"accuracy@1": float(np.mean(both))}

    return score


def _retrieval(asked: Questions, reader: Reader) -> Score:
    def score(tasks: Reading, size: int) -> Scores:
        queries = reader.texts(asked.questions, tasks[0], size)
        passages = reader.texts(asked.passages, tasks[1], size)
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

    def score(tasks: Reading, size: int) -> Scores:
        queries = reader.texts(asked.questions, tasks[0], size)
        every = [chunk for document in texts for chunk in document]
        ways = {
            INDEPENDENT: reader.texts(every, tasks[1], size),
            LATE: reader.documents(texts, tasks[1], size),
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
    def score(tasks: Reading, size: int) -> Scores:
        fit = reader.texts(labels.fit_texts, tasks[0], size)
        vectors = reader.texts(labels.texts, tasks[0], size)
        asked = (fit, labels.fit_labels, vectors, labels.labels)
        return {"probe": metrics.probe(*asked), "neighbours": metrics.neighbours(*asked)}

    return score


def _clustering(labels: Labels, reader: Reader, seed: int) -> Score:
    def score(tasks: Reading, size: int) -> Scores:
        vectors = reader.texts(labels.texts, tasks[0], size)
        return {"v-measure": metrics.v_measure(vectors, labels.labels, seed)}

    return score
