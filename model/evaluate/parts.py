"""Parts: a file's records -> sets, by language, of one split, bounded."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from model.evaluate.files import (
    DEV,
    LABEL_FIELDS,
    TEST,
    TRAIN,
    File,
    Record,
    languages_of,
    questions_of,
)
from model.evaluate.sets import (
    Bounds,
    Labels,
    Pairs,
    Parallel,
    Questions,
    Set,
)

# Of one language, where no --limit is given.
DEFAULT_PASSAGES, DEFAULT_QUESTIONS = 300, 1000
# Records that a probe is fitted on, evenly over the labels: more change its accuracy little and its
# time much.
FITTED = 2400
# And with --limit at most so many for each measured one.
FITTED_A_RECORD = 4
# Different labels or scores, below which nothing can be told apart.
FEWEST = 2


@dataclass(frozen=True, slots=True)
class _Part:
    """The records of one file and language: those to measure and those to fit on."""

    file: str
    language: str
    measured: list[Record]
    fitted: list[Record]

    @property
    def name(self) -> str:
        return f"{self.file} {self.language}".strip()


def sets_of(file: File, bounds: Bounds) -> tuple[list[Set], list[str]]:
    """What is measured on a file, and a sentence for each part that is passed over."""
    makers = {"pairs": _pairs, "questions": _questions, "labels": _labels, "parallel": _parallel}
    sets: list[Set] = []
    passed_over: list[str] = []
    for part in _parts(file, bounds.split):
        made = makers[file.kind](part, bounds) if part.measured else []
        if not part.measured:
            reason = f"no record to measure, all {len(part.fitted)} are for training"
            passed_over.append(f"{part.name}: {reason}")
        elif not made:
            passed_over.append(f"{part.name}: too few different labels, scores or questions")
        sets += made
    return sets, passed_over


def _parts(file: File, split: str) -> list[_Part]:
    """A file's records by language (and set), in the order in which those first come."""
    parts: dict[str, list[Record]] = defaultdict(list)
    for record in file.records:
        language = record.get("lang", "") if file.kind != "parallel" else ""
        if "passage_lang" in record:
            language = f"{language}-{record['passage_lang']}"
        parts[" ".join(filter(None, [record.get("set", ""), language]))].append(record)
    return [_Part(file.name, part, *_split(records, split)) for part, records in parts.items()]


def _split(records: Sequence[Record], wanted: str) -> tuple[list[Record], list[Record]]:
    """The records to measure, and those to fit on."""
    splits: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        splits[record.get("split", "")].append(record)
    order = (*DEV, *TEST) if wanted == "dev" else (*TEST, *DEV)
    measured = next((splits[name] for name in (*order, "") if name in splits), [])
    return measured, [record for name in TRAIN for record in splits.get(name, [])]


def _bounded(part: _Part, bounds: Bounds) -> list[Record]:
    indices = bounds.drawn(part.name, len(part.measured), bounds.limit)
    return [part.measured[index] for index in indices]


def _column(records: Sequence[Record], field: str) -> tuple[str, ...]:
    return tuple(record[field] for record in records)


def _pairs(part: _Part, bounds: Bounds) -> list[Set]:
    records = _bounded(part, bounds)
    scores = tuple(float(record["score"]) for record in records)
    if len(set(scores)) < FEWEST:
        return []
    a, b = (_column(records, side) for side in "ab")
    return [Pairs(part.file, part.language, a, b, scores)]


def _questions(part: _Part, bounds: Bounds) -> list[Set]:
    records = _whole_titles(part, bounds)
    titles = {record["passage"]: _title(record) for record in reversed(records)}
    passages = tuple(dict.fromkeys(_column(records, "passage")))
    place = {passage: index for index, passage in enumerate(passages)}
    asked = [
        (question, place[record["passage"]])
        for record in records
        for question in questions_of(record)
    ]
    if not asked:
        return []
    drawn = bounds.drawn(part.name, len(asked), bounds.limit or DEFAULT_QUESTIONS)
    questions, answers = zip(*(asked[index] for index in drawn), strict=True)
    of_passages = tuple(titles[passage] for passage in passages)
    return [Questions(part.file, part.language, questions, answers, passages, of_passages)]


def _whole_titles(part: _Part, bounds: Bounds) -> list[Record]:
    """As many records as the bounds allow; neighbours of one title, a document, stay together."""
    documents = [
        list(group)
        for title, each in groupby(part.measured, key=_title)
        for group in ([each] if title else ([one] for one in each))
    ]
    limit, chosen, passages = bounds.limit or DEFAULT_PASSAGES, set(), 0
    for index in bounds.generator(part.name).permutation(len(documents)).tolist():
        if passages < limit:
            chosen.add(index)
            passages += len(documents[index])
    return [record for index in sorted(chosen) for record in documents[index]][:limit]


def _title(record: Record) -> str:
    return str(record.get("title") or "")


def _labels(part: _Part, bounds: Bounds) -> list[Set]:
    measured, fitted = part.measured, part.fitted
    if not fitted:
        # Without a train split every second record is for fitting.
        measured, fitted = measured[::2], measured[1::2]
    fitted = _evenly(part.name, fitted, bounds)
    measured = _bounded(replace(part, measured=measured), bounds)
    texts, fit_texts = _column(measured, "text"), _column(fitted, "text")
    return _labelled(
        Labels(part.file, part.language, texts, _labels_of(measured), fit_texts, _labels_of(fitted))
    )


def _labelled(labels: Labels) -> list[Set]:
    """The set, if it has labels to tell apart."""
    return [labels] if min(len(set(labels.labels)), len(set(labels.fit_labels))) >= FEWEST else []


def _evenly(name: str, records: Sequence[Record], bounds: Bounds) -> list[Record]:
    """At most FITTED records, as many of each label and at least one."""
    by_label: dict[str, list[Record]] = defaultdict(list)
    for record, label in zip(records, _labels_of(records), strict=True):
        by_label[label].append(record)
    most = FITTED if bounds.limit is None else min(FITTED, FITTED_A_RECORD * bounds.limit)
    each = max(1, most // max(1, len(by_label)))
    return [
        group[index]
        for label, group in sorted(by_label.items())
        for index in bounds.drawn(f"{name} {label}", len(group), each)
    ]


def _labels_of(records: Sequence[Record]) -> tuple[str, ...]:
    """Each record's label; "" where it has none."""
    return tuple(
        str(next((record[field] for field in LABEL_FIELDS if field in record), ""))
        for record in records
    )


def _parallel(part: _Part, bounds: Bounds) -> list[Set]:
    """Pairs of the pivot (English, or the first language) with each language, and labels of each
    language with a probe that is fitted on the pivot alone."""
    measured = _bounded(part, bounds)
    there = [lang for lang in languages_of(measured[0]) if all(lang in r for r in measured)]
    languages = [lang for lang in bounds.languages if lang in there] or there
    pivot = "en" if "en" in languages else languages[0]
    texts = {lang: _column(measured, lang) for lang in languages}
    sets: list[Set] = [
        Parallel(part.file, f"{pivot}-{lang}", texts[pivot], texts[lang])
        for lang in languages
        if lang != pivot
    ]
    fitted = _evenly(part.name, [record for record in part.fitted if pivot in record], bounds)
    labels, fit = _labels_of(measured), (_column(fitted, pivot), _labels_of(fitted))
    for lang in languages:
        sets += _labelled(Labels(part.file, lang, texts[lang], labels, *fit))
    return sets
