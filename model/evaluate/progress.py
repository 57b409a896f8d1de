"""Progress: a bar over the characters that are still to be embedded, on standard error."""

import sys
from collections.abc import Iterable, Sequence

from tqdm import tqdm

from model.evaluate.lines import PASSAGE, QUERY, chunks_by_document
from model.evaluate.sets import Labels, Pairs, Parallel, Questions, Set


class Progress:
    """A bar for a terminal, or where it is asked for."""

    def __init__(self, total: int, *, shown: bool) -> None:
        """`total` characters."""
        self._bar = tqdm(
            total=total,
            unit=" characters",
            unit_scale=True,
            file=sys.stderr,
            dynamic_ncols=True,
            disable=not (shown or sys.stderr.isatty()),
        )

    def on(self, a_set: Set) -> None:
        """Say which set is measured now."""
        self._bar.set_description(f"{a_set.file} {a_set.language}".strip())

    def read(self, texts: Sequence[str]) -> None:
        """Move on by texts that are embedded."""
        self._bar.update(sum(map(len, texts)))

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


def characters_of(sets: Iterable[Set], readings: Sequence[str | None]) -> int:
    """How many characters are embedded for all lines of sets, each text once a task.

    `readings` are the tasks that read everything, beside the kinds' own; None is no adapter.
    """
    alone: set[tuple[str | None, str]] = set()
    late = 0
    for a_set in sets:
        for task, texts in _read(a_set):
            alone.update((task, text) for text in texts)
            alone.update((each, text) for each in readings for text in texts)
        if isinstance(a_set, Questions):
            documents = chunks_by_document(a_set)
            chunks = [chunk for document in documents for chunk in document]
            late += sum(map(len, chunks)) * (1 + (None in readings))
            # Further tasks do not read chunks.
            alone.update((each, chunk) for each in (PASSAGE, *_none(readings)) for chunk in chunks)
    return sum(len(text) for _, text in alone) + late


def _none(readings: Sequence[str | None]) -> list[None]:
    return [each for each in readings if each is None]


def _read(a_set: Set) -> list[tuple[str, Sequence[str]]]:
    """The texts that are read by themselves, by their task, but for chunks."""
    match a_set:
        case Pairs() | Parallel():
            return [("text-matching", a_set.a + a_set.b)]
        case Labels():
            return [("classification", a_set.fit_texts + a_set.texts), ("separation", a_set.texts)]
        case Questions():
            return [(QUERY, a_set.questions), (PASSAGE, a_set.passages)]
