"""Sets: a file's records -> what is measured on them, by language, of one split, bounded.

The evaluated split is dev, or test where there is no dev (`--split test` turns that round), or all
records where a file has no splits. Records of the train split only fit probes and stand as
neighbours. Bounding draws at random, always the same by the seed and the set's name.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from model.evaluate.files import LABEL_FIELDS, File, Record, languages_of, questions_of

DEV, TEST, TRAIN = ("dev", "val", "valid", "validation"), ("test",), ("train", "training")
# Of one language, where no --limit is given.
DEFAULT_PASSAGES, DEFAULT_QUESTIONS = 300, 1000
# Records that a probe is fitted on, evenly over the labels: more change its accuracy little and its
# time much.
FITTED = 2400
# Different labels or scores, below which nothing can be told apart.
FEWEST = 2
LANGUAGES = ("en", "de", "fr", "es", "zh", "ja", "ru", "ar", "hi", "sw", "ko", "pt")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which split, how many records of a set (None: as many as the file has), which languages."""

    split: str = "dev"
    limit: int | None = None
    languages: tuple[str, ...] = LANGUAGES
    seed: int = 0

    def drawn(self, name: str, count: int, most: int | None) -> list[int]:
        """Indices of `count` records, at most `most` of them, in order."""
        if most is None or count <= most:
            return list(range(count))
        generator = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        return sorted(generator.choice(count, most, replace=False).tolist())


@dataclass(frozen=True, slots=True)
class Pairs:
    """Texts a and b and how similar people found them."""

    file: str
    language: str
    a: tuple[str, ...]
    b: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Questions:
    """Each question's passage is `passages[answers[i]]`. Titles are "" where there is none."""

    file: str
    language: str
    questions: tuple[str, ...]
    answers: tuple[int, ...]
    passages: tuple[str, ...]
    titles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """Texts with labels; those of `fit_texts` only fit a probe and stand as neighbours."""

    file: str
    language: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    fit_texts: tuple[str, ...]
    fit_labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parallel:
    """The same texts in two languages."""

    file: str
    language: str
    a: tuple[str, ...]
    b: tuple[str, ...]


Set = Pairs | Questions | Labels | Parallel


def sets_of(file: File, bounds: Bounds) -> tuple[list[Set], list[str]]:
    """What is measured on a file, and a sentence for each part that is passed over."""
    makers = {"pairs": _pairs, "questions": _questions, "labels": _labels, "parallel": _parallel}
    sets: list[Set] = []
    passed_over: list[str] = []
    for part, records in _parts(file):
        evaluated, fitted = _split(records, bounds.split)
        name = f"{file.name} {part}".strip()
        made = makers[file.kind](name, part, (evaluated, fitted), bounds) if evaluated else []
        if not evaluated:
            passed_over.append(f"{name}: no record to evaluate, all {len(fitted)} are for training")
        elif not made:
            passed_over.append(f"{name}: too few different labels, scores or questions")
        sets += made
    return sets, passed_over


def _parts(file: File) -> Iterator[tuple[str, list[Record]]]:
    """A file's records by language (and set), in the order in which those first come."""
    parts: dict[str, list[Record]] = defaultdict(list)
    for record in file.records:
        language = record.get("lang", "") if file.kind != "parallel" else ""
        if "passage_lang" in record:
            language = f"{language}-{record['passage_lang']}"
        parts[" ".join(filter(None, [record.get("set", ""), language]))].append(record)
    return iter(parts.items())


def _split(records: Sequence[Record], wanted: str) -> tuple[list[Record], list[Record]]:
    """The records to evaluate, and those to fit on."""
    splits: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        splits[record.get("split", "")].append(record)
    order = (*DEV, *TEST) if wanted == "dev" else (*TEST, *DEV)
    evaluated = next((splits[name] for name in (*order, "") if name in splits), [])
    return evaluated, [record for name in TRAIN for record in splits.get(name, [])]


_Split = tuple[list[Record], list[Record]]


def _pairs(name: str, part: str, split: _Split, bounds: Bounds) -> list[Set]:
    records = [split[0][index] for index in bounds.drawn(name, len(split[0]), bounds.limit)]
    if len({record["score"] for record in records}) < FEWEST:
        return []
    a, b = (tuple(record[side] for record in records) for side in "ab")
    return [Pairs(name.partition(" ")[0], part, a, b, tuple(float(r["score"]) for r in records))]


def _questions(name: str, part: str, split: _Split, bounds: Bounds) -> list[Set]:
    limit = bounds.limit or DEFAULT_PASSAGES
    # Whole documents are drawn: neighbouring passages of one title belong together.
    by_title = [
        list(group)
        for title, each in groupby(split[0], key=_title)
        for group in ([each] if title else ([one] for one in each))
    ]
    generator = np.random.default_rng([bounds.seed, zlib.crc32(name.encode())])
    chosen: set[int] = set()
    passages = 0
    for index in generator.permutation(len(by_title)).tolist():
        if passages < limit:
            chosen.add(index)
            passages += len(by_title[index])
    records = [record for index in sorted(chosen) for record in by_title[index]][:limit]
    at: dict[str, int] = {}
    titles = []
    for record in records:
        if record["passage"] not in at:
            at[record["passage"]] = len(at)
            titles.append(_title(record))
    asked = [
        (question, at[record["passage"]]) for record in records for question in questions_of(record)
    ]
    asked = [
        asked[index] for index in bounds.drawn(name, len(asked), bounds.limit or DEFAULT_QUESTIONS)
    ]
    if not asked:
        return []
    questions, answers = zip(*asked, strict=True)
    return [Questions(name.partition(" ")[0], part, questions, answers, tuple(at), tuple(titles))]


def _title(record: Record) -> str:
    return str(record.get("title") or "")


def _labels(name: str, part: str, split: _Split, bounds: Bounds) -> list[Set]:
    evaluated, fitted = split
    if not fitted:
        # Without a train split every second record is for fitting.
        evaluated, fitted = evaluated[::2], evaluated[1::2]
    fitted = _evenly(name, fitted, bounds)
    evaluated = [evaluated[index] for index in bounds.drawn(name, len(evaluated), bounds.limit)]
    if min(len(set(map(_label, records))) for records in (evaluated, fitted)) < FEWEST:
        return []
    columns = [
        tuple(r[field] for r in records)
        for records in (evaluated, fitted)
        for field in ("text", "label")
    ]
    return [Labels(name.partition(" ")[0], part, *columns)]


def _evenly(name: str, records: Sequence[Record], bounds: Bounds) -> list[Record]:
    """At most FITTED records, as many of each label."""
    by_label: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_label[_label(record)].append(record)
    each = max(1, FITTED // max(1, len(by_label)))
    return [
        group[index]
        for label, group in sorted(by_label.items())
        for index in bounds.drawn(f"{name} {label}", len(group), each)
    ]


def _label(record: Record) -> str:
    return str(next(record[field] for field in LABEL_FIELDS if field in record))


def _parallel(name: str, _: str, split: _Split, bounds: Bounds) -> list[Set]:
    """Pairs of the pivot (English, or the first language) with each language, and labels of each
    language with a probe that is fitted on the pivot alone."""
    evaluated, fitted = split
    evaluated = [evaluated[index] for index in bounds.drawn(name, len(evaluated), bounds.limit)]
    there = [lang for lang in languages_of(evaluated[0]) if all(lang in r for r in evaluated)]
    languages = [lang for lang in bounds.languages if lang in there] or there
    pivot = "en" if "en" in languages else languages[0]
    texts = {lang: tuple(record[lang] for record in evaluated) for lang in languages}
    sets: list[Set] = [
        Parallel(name, f"{pivot}-{lang}", texts[pivot], texts[lang])
        for lang in languages
        if lang != pivot
    ]
    fitted = [record for record in fitted if pivot in record]
    if fitted and any(field in evaluated[0] for field in LABEL_FIELDS):
        fitted = _evenly(name, fitted, bounds)
        labels, fit_labels = (tuple(map(_label, records)) for records in (evaluated, fitted))
        fit_texts = tuple(record[pivot] for record in fitted)
        sets += [
            Labels(name, lang, texts[lang], labels, fit_texts, fit_labels) for lang in languages
        ]
    return sets
