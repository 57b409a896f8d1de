"""A progress bar over the characters that are still to be embedded, on standard error."""

import sys
from collections.abc import Iterable, Sequence

from tqdm import tqdm

from model.evaluate.datasets import Dataset, Labels, Questions
from model.evaluate.scoring import PASSAGE, QUERY, chunks_by_document


def progress_bar(characters: int, *, shown: bool) -> "tqdm[None]":
    """The bar, which shows in a terminal, or where `shown` asks for it."""
    return tqdm(
        total=characters,
        unit=" characters",
        unit_scale=True,
        file=sys.stderr,
        dynamic_ncols=True,
        disable=not (shown or sys.stderr.isatty()),
    )


def characters_of(datasets: Iterable[Dataset], everywhere: Sequence[str | None]) -> int:
    """How many characters are embedded for all metrics of datasets, each text once a task.

    `everywhere` are the further tasks, which embed every text; None is no task.
    """
    base = [None] if None in everywhere else []
    texts: set[tuple[str | None, str]] = set()
    late = 0
    for dataset in datasets:
        for task, of_task in _texts_by_task(dataset).items():
            texts.update((each, text) for each in (task, *everywhere) for text in of_task)
        if isinstance(dataset, Questions):
            chunks = [chunk for document in chunks_by_document(dataset) for chunk in document]
            # Further tasks do not embed chunks.
            texts.update((each, chunk) for each in (PASSAGE, *base) for chunk in chunks)
            late += sum(map(len, chunks)) * (1 + len(base))
    return sum(len(text) for _, text in texts) + late


def _texts_by_task(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """The texts that each task embeds by themselves, but for chunks."""
    match dataset:
        case Labels():
            return {
                "classification": dataset.fit_texts + dataset.texts,
                "separation": dataset.texts,
            }
        case Questions():
            return {QUERY: dataset.questions, PASSAGE: dataset.passages}
        case _:
            return {"text-matching": dataset.a + dataset.b}
