"""Scores a model on a dataset: which metrics, with which tasks' adapters, at which sizes.

kind            metrics                                                              tasks
sts             Spearman correlation of the cosines with people's scores             text-matching
retrieval       each question among all passages: accuracy@1, nDCG@10                retrieval.*
languages       each text's translation among all of the other language: accuracy@1,
                the mean of both directions                                          text-matching
classification  accuracy of a logistic regression and of the nearest neighbours      classification
clustering      v-measure of k-means                                                 separation
late chunking   each question among the chunks of all passages, where a passage ranks by its best
                chunk: passage@1, nDCG@10; chunks embedded by themselves ("independent") or with
                their document ("late")                                              retrieval.*

Which chunk holds the answer is not known, so a passage is right or wrong as a whole.

A task beyond these five is measured on every dataset in all of these ways but late chunking: it
embeds both sides, and its metrics carry its name.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.evaluate import metrics
from model.evaluate.chunks import chunks_of, documents_of
from model.evaluate.datasets import Dataset, Labels, Pairs, Parallel, Questions
from model.evaluate.embedding_cache import EmbeddingCache
from model.evaluate.evaluated_model import EvaluatedModel
from model.rows import Vectors

QUERY, PASSAGE = "retrieval.query", "retrieval.passage"
INDEPENDENT, LATE = "independent", "late"
LATE_MEASURES = ("passage@1", "nDCG@10")
# In the place of the language, for the mean over all languages of a file.
MEAN = "mean"

# The tasks that embed the two sides of each kind: one task for both, or one for each.
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

# kind, file, language, measure, and the task where it is a further one
Key = tuple[str, ...]
Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one dataset, at each size.

    `measure` is its name. `adapter` and `none` have a value for each size, with the task's adapter
    and without any; `none` is empty where the model does not embed without a task. `rows` is the
    number of questions, pairs or texts that were measured. `task` is "" for the tasks of TASKS, and
    else the further task. The fields are those of evaluation.json.
    """

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
        """What identifies it among the metrics of one evaluation."""
        key = (self.kind, self.file, self.language, self.measure)
        return (*key, self.task) if self.task else key


def metrics_of(dataset: Dataset, embeddings: EmbeddingCache, seed: int) -> Iterator[Metric]:
    """All metrics of a dataset, kind by kind, and for each kind task by task."""
    model = embeddings.model

    def at_each_size(scorer: "_Scorer", *tasks: str | None) -> dict[int, Scores]:
        return {
            size: scorer(dataset, _Embedder(embeddings, tasks, size, seed)) for size in model.sizes
        }

    for kind, scorer in _SCORERS[type(dataset)].items():
        pairs = _task_pairs(kind, model)
        base = at_each_size(scorer, None, None) if pairs and model.embeds_without_task else {}
        for task, pair in pairs.items():
            adapted = at_each_size(scorer, *pair)
            for measure in adapted[model.sizes[0]]:
                adapter, none = (
                    {size: scores[measure] for size, scores in each.items()}
                    for each in (adapted, base)
                )
                key = (kind, dataset.file, dataset.language, measure)
                yield Metric(*key, _count(dataset), adapter, none, task)


def kinds_left_out(model: EvaluatedModel) -> list[str]:
    """The kinds that a model lacks the tasks for."""
    return [kind for kind, tasks in TASKS.items() if not set(tasks) <= set(model.tasks)]


def further_tasks(model: EvaluatedModel) -> tuple[str, ...]:
    """The model's tasks that TASKS does not have."""
    usual = {task for tasks in TASKS.values() for task in tasks}
    return tuple(task for task in model.tasks if task not in usual)


def _task_pairs(kind: str, model: EvaluatedModel) -> dict[str, tuple[str, str]]:
    """The tasks for the first side and the last, by the `task` of their metrics."""
    tasks = TASKS[kind]
    pairs = {"": (tasks[0], tasks[-1])} if set(tasks) <= set(model.tasks) else {}
    further = () if kind == "late chunking" else further_tasks(model)
    return pairs | {task: (task, task) for task in further}


def _count(dataset: Dataset) -> int:
    match dataset:
        case Questions():
            return len(dataset.questions)
        case Labels():
            return len(dataset.texts)
        case _:
            return len(dataset.a)


@dataclass(frozen=True, slots=True)
class _Embedder:
    """Embeds the sides of a dataset with their tasks, at one size: unit vectors (n, size)."""

    embeddings: EmbeddingCache
    tasks: tuple[str | None, ...]
    size: int
    seed: int

    def first(self, texts: tuple[str, ...]) -> Vectors:
        return self.embeddings.texts(texts, self.tasks[0], self.size)

    def last(self, texts: tuple[str, ...]) -> Vectors:
        return self.embeddings.texts(texts, self.tasks[-1], self.size)

    def documents(self, documents: list[list[str]]) -> Vectors:
        return self.embeddings.documents(documents, self.tasks[-1], self.size)


_Scorer = Callable[[Any, _Embedder], Scores]


def _sts(pairs: Pairs, embed: _Embedder) -> Scores:
    return {"Spearman": metrics.spearman(embed.first(pairs.a), embed.last(pairs.b), pairs.scores)}


def _languages(parallel: Parallel, embed: _Embedder) -> Scores:
    a, b = embed.first(parallel.a), embed.last(parallel.b)
    answers = range(len(a))
    there, _ = metrics.accuracy_and_ndcg_in_parts(lambda part: a[part] @ b.T, answers)
    back, _ = metrics.accuracy_and_ndcg_in_parts(lambda part: b[part] @ a.T, answers)
    return {"accuracy@1": (there + back) / 2}


def _retrieval(asked: Questions, embed: _Embedder) -> Scores:
    questions, passages = embed.first(asked.questions), embed.last(asked.passages)
    accuracy, ndcg = metrics.accuracy_and_ndcg_in_parts(
        lambda part: questions[part] @ passages.T, asked.answers
    )
    return {"accuracy@1": accuracy, "nDCG@10": ndcg}


def _late_chunking(asked: Questions, embed: _Embedder) -> Scores:
    documents = chunks_by_document(asked)
    chunks = tuple(chunk for document in documents for chunk in document)
    # Documents keep the order of passages, so a passage's chunks follow those of the one before.
    starts = np.cumsum([0, *(len(chunks_of(passage)) for passage in asked.passages[:-1])])
    questions = embed.first(asked.questions)
    scores = {}
    for way, vectors in {INDEPENDENT: embed.last(chunks), LATE: embed.documents(documents)}.items():

        def best(part: slice, vectors: Vectors = vectors) -> Vectors:
            return np.maximum.reduceat(questions[part] @ vectors.T, starts, axis=1)

        scores[way] = metrics.accuracy_and_ndcg_in_parts(best, asked.answers)
    return {
        f"{measure} {way}": scores[way][index]
        for index, measure in enumerate(LATE_MEASURES)
        for way in scores
    }


def chunks_by_document(asked: Questions) -> list[list[str]]:
    """The chunks of each document of a dataset, in the order of its passages."""
    return [
        [chunk for passage in document for chunk in chunks_of(asked.passages[passage])]
        for document in documents_of(asked.passages, asked.titles)
    ]


def _classification(labels: Labels, embed: _Embedder) -> Scores:
    fitted = embed.first(labels.fit_texts), labels.fit_labels
    measured = embed.first(labels.texts), labels.labels
    return {
        "probe": metrics.probe(*fitted, *measured),
        "neighbours": metrics.neighbours(*fitted, *measured),
    }


def _clustering(labels: Labels, embed: _Embedder) -> Scores:
    return {"v-measure": metrics.v_measure(embed.first(labels.texts), labels.labels, embed.seed)}


_SCORERS: dict[type[Dataset], dict[str, _Scorer]] = {
    Pairs: {"sts": _sts},
    Parallel: {"languages": _languages},
    Questions: {"retrieval": _retrieval, "late chunking": _late_chunking},
    Labels: {"classification": _classification, "clustering": _clustering},
}
