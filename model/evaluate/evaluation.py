"""Runs an evaluation: reads the datasets of a folder and measures a model on all of them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from model.evaluate.dataset_builder import build_datasets, parallel_languages
from model.evaluate.datasets import Dataset, Sampling
from model.evaluate.embedding_cache import EmbeddingCache
from model.evaluate.errors import EvaluationError
from model.evaluate.evaluated_model import EvaluatedModel
from model.evaluate.files import read_folder
from model.evaluate.progress import characters_of, progress_bar
from model.evaluate.scoring import KINDS, MEAN, Metric, further_tasks, metrics_of


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """A model and its metrics; those of several languages are followed by their mean."""

    model: EvaluatedModel
    metrics: tuple[Metric, ...]

    def json(self) -> dict[str, Any]:
        """For evaluation.json."""
        return {**self.model.facts, "lines": [asdict(metric) for metric in self.metrics]}


def read_datasets(folder: Path, sampling: Sampling) -> tuple[list[Dataset], list[str]]:
    """The datasets of a folder's files, and a sentence for each part that is passed over.

    Raises:
        EvaluationError: the folder or a file is not what it must be, or no file has parallel texts
            in a language that is asked for.
    """
    files, passed_over = read_folder(folder)
    there = {lang for file in files for lang in parallel_languages(file, sampling)}
    if missing := [language for language in sampling.languages if language not in there]:
        has = f"they are in {', '.join(sorted(there))}" if there else "it has none"
        raise EvaluationError(
            f"--languages {missing[0]}: {folder} has no parallel texts in it; {has}."
        )
    datasets: list[Dataset] = []
    for file in files:
        of_file, sentences = build_datasets(file, sampling)
        datasets += of_file
        passed_over += sentences
    return datasets, passed_over


def evaluate(
    model: EvaluatedModel, datasets: Sequence[Dataset], seed: int, *, show_progress: bool = False
) -> EvaluationResult:
    """All metrics of a model on the datasets; progress always shows in a terminal.

    Raises:
        EvaluationError: a service does not answer, or numbers are not finite.
    """
    everywhere = (*further_tasks(model), *([None] if model.embeds_without_task else []))
    metrics: list[Metric] = []
    with progress_bar(characters_of(datasets, everywhere), shown=show_progress) as bar:
        # Vectors are kept for one file, whose datasets share texts.
        for _, of_file in groupby(datasets, key=lambda dataset: dataset.file):
            embeddings = EmbeddingCache(model, lambda texts: bar.update(sum(map(len, texts))))
            for dataset in of_file:
                bar.set_description(f"{dataset.file} {dataset.language}".strip())
                metrics += metrics_of(dataset, embeddings, seed)
    return EvaluationResult(model, tuple(with_means(metrics)))


def with_means(metrics: Sequence[Metric]) -> list[Metric]:
    """Metrics by kind, task, file and measure, those of several languages with their mean."""
    first_seen: dict[Any, int] = {}
    for metric in metrics:
        first_seen.setdefault(metric.task, len(first_seen))
        first_seen.setdefault((metric.kind, metric.file, metric.measure), len(first_seen))

    def group(metric: Metric) -> tuple[int, int, int]:
        measure = first_seen[metric.kind, metric.file, metric.measure]
        return KINDS.index(metric.kind), first_seen[metric.task], measure

    ordered: list[Metric] = []
    for _, each in groupby(sorted(metrics, key=group), key=group):
        of_languages = list(each)
        ordered += of_languages
        if len(of_languages) > 1:
            ordered.append(_mean(of_languages))
    return ordered


def _mean(metrics: Sequence[Metric]) -> Metric:
    def mean(values: Callable[[Metric], dict[int, float]]) -> dict[int, float]:
        sizes = values(metrics[0])
        return {size: float(np.mean([values(each)[size] for each in metrics])) for size in sizes}

    return replace(
        metrics[0],
        language=MEAN,
        rows=sum(each.rows for each in metrics),
        adapter=mean(lambda each: each.adapter),
        none=mean(lambda each: each.none),
    )
