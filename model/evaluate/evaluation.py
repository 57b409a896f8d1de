"""Evaluation: sets and subjects -> lines, compared, as a table and as a JSON file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from model.evaluate.files import read_folder
from model.evaluate.lines import KINDS, MEAN, Line, further_tasks, lines_of
from model.evaluate.parts import sets_of
from model.evaluate.progress import Progress, characters_of
from model.evaluate.reader import Reader
from model.evaluate.sets import Bounds, Set
from model.evaluate.subject import Subject


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A subject and its lines; after the lines of several languages comes their mean."""

    subject: Subject
    lines: tuple[Line, ...]

    def json(self) -> dict[str, Any]:
        """For the JSON file."""
        return {**self.subject.facts, "lines": [line.json() for line in self.lines]}


def read_sets(folder: Path, bounds: Bounds) -> tuple[list[Set], list[str]]:
    """The sets of a folder's files, and a sentence for each part that is passed over.

    Raises:
        EvaluationError: the folder or a file is not what it must be.
    """
    files, passed_over = read_folder(folder)
    sets: list[Set] = []
    for file in files:
        made, missing = sets_of(file, bounds)
        sets += made
        passed_over += missing
    return sets, passed_over


def evaluate(subject: Subject, sets: Sequence[Set], seed: int, *, bar: bool = False) -> Evaluated:
    """Measure everything on every set.

    Raises:
        EvaluationError: a service does not answer.
    """
    readings = (*further_tasks(subject), *([None] if subject.has_none else []))
    progress = Progress(characters_of(sets, readings), shown=bar)
    lines: list[Line] = []
    try:
        for _, same_file in groupby(sets, key=lambda a_set: a_set.file):
            reader = Reader(subject, progress.read)
            for a_set in same_file:
                progress.on(a_set)
                lines += lines_of(a_set, reader, seed)
    finally:
        progress.close()
    return Evaluated(subject, tuple(with_means(lines)))


def with_means(lines: Sequence[Line]) -> list[Line]:
    """Lines in the order of kinds, tasks, files and measures, and behind several languages their
    mean."""
    place: dict[Any, int] = {}
    for line in lines:
        place.setdefault(line.task, len(place))
        place.setdefault((line.kind, line.file, line.measure), len(place))

    def group(line: Line) -> tuple[int, int, int]:
        where = place[line.kind, line.file, line.measure]
        return KINDS.index(line.kind), place[line.task], where

    ordered: list[Line] = []
    for _, each in groupby(sorted(lines, key=group), key=group):
        of_languages = list(each)
        ordered += of_languages
        if len(of_languages) > 1:
            ordered.append(_mean(of_languages))
    return ordered


def _mean(lines: Sequence[Line]) -> Line:
    first = lines[0]

    def mean(values: Callable[[Line], dict[int, float]]) -> dict[int, float]:
        return {
            size: float(np.mean([values(line)[size] for line in lines])) for size in values(first)
        }

    rows = sum(line.rows for line in lines)
    adapter, none = mean(lambda line: line.adapter), mean(lambda line: line.none)
    return replace(first, language=MEAN, rows=rows, adapter=adapter, none=none)
