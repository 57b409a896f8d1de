"""Builds datasets from a file's records: by language, of one split, sampled."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from operator import itemgetter

from model.evaluate.datasets import LANGUAGES, Dataset, Labels, Pairs, Parallel, Questions, Sampling
from model.evaluate.files import (
    LABEL_FIELDS,
    File,
    Record,
    languages_of,
    questions_of,
)
from model.records import DEV, TEST, TRAIN

# Of one language, where no --limit is given.
DEFAULT_PASSAGES, DEFAULT_QUESTIONS = 300, 1000
# Records that a probe is fitted on, evenly over the labels: more change its accuracy little and its
# time much.
MAX_FITTED = 2400
# And with --limit at most so many for each measured one.
FITTED_PER_MEASURED = 4
# With fewer different labels or scores there is nothing to measure.
MIN_DIFFERENT = 2


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


def build_datasets(file: File, sampling: Sampling) -> tuple[list[Dataset], list[str]]:
    """The datasets of a file, and a sentence for each part of it that is passed over."""
    build = {
        "pairs": _pairs,
        "questions": _questions,
        "labels": _labels,
        "parallel": _parallel,
        "sentences": _sentences,
    }
    datasets: list[Dataset] = []
    passed_over: list[str] = []
    for part in _parts(file, sampling.split):
        of_part = build[file.kind](part, sampling) if part.measured else []
        if not part.measured:
            reason = f"no record to measure, all {len(part.fitted)} are for training"
            passed_over.append(f"{part.name}: {reason}")
        elif not of_part:
            passed_over.append(
                f"{part.name}: too few different labels, scores, questions or languages"
            )
        datasets += of_part
    return datasets, passed_over


def parallel_languages(file: File, sampling: Sampling) -> set[str]:
    """The languages that the parallel texts of a file are measured in, if they are asked for."""
    parts = _parts(file, sampling.split)
    if file.kind == "parallel":
        return {language for part in parts for language in _languages_of_all(part.measured)}
    if file.kind == "sentences":
        return {record["lang"] for part in parts for record in part.measured}
    return set()


def _languages_of_all(records: Sequence[Record]) -> list[str]:
    """The languages that each of the records has, in the order of the first one."""
    first = languages_of(records[0]) if records else ()
    return [language for language in first if all(language in record for record in records)]


def _parts(file: File, split: str) -> list[_Part]:
    """A file's records by language (and set), in the order in which those first come."""
    parts: dict[str, list[Record]] = defaultdict(list)
    for record in file.records:
        language = record.get("lang", "")
        if file.kind in ("parallel", "sentences"):
            language = ""  # a part has all languages
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


def _sample(name: str, records: Sequence[Record], sampling: Sampling) -> list[Record]:
    return [records[index] for index in sampling.sample(name, len(records), sampling.limit)]


def _column(records: Sequence[Record], field: str) -> tuple[str, ...]:
    return tuple(record[field] for record in records)


def _pairs(part: _Part, sampling: Sampling) -> list[Dataset]:
    records = _sample(part.name, part.measured, sampling)
    scores = tuple(float(record["score"]) for record in records)
    if len(set(scores)) < MIN_DIFFERENT:
        return []
    a, b = (_column(records, side) for side in "ab")
    return [Pairs(part.file, part.language, a, b, scores)]


def _questions(part: _Part, sampling: Sampling) -> list[Dataset]:
    records = _whole_documents(part, sampling)
    title_of = {record["passage"]: _title(record) for record in reversed(records)}
    passages = tuple(dict.fromkeys(_column(records, "passage")))
    index_of = {passage: index for index, passage in enumerate(passages)}
    asked = [
        (question, index_of[record["passage"]])
        for record in records
        for question in questions_of(record)
    ]
    if not asked:
        return []
    sample = sampling.sample(part.name, len(asked), sampling.limit or DEFAULT_QUESTIONS)
    questions, answers = zip(*(asked[index] for index in sample), strict=True)
    titles = tuple(title_of[passage] for passage in passages)
    return [Questions(part.file, part.language, questions, answers, passages, titles)]


def _whole_documents(part: _Part, sampling: Sampling) -> list[Record]:
    """As many records as the limit allows; a document, neighbours of one title, stays together."""
    documents = [
        list(group)
        for title, each in groupby(part.measured, key=_title)
        for group in ([each] if title else ([one] for one in each))
    ]
    limit, chosen, passages = sampling.limit or DEFAULT_PASSAGES, set(), 0
    for index in sampling.generator(part.name).permutation(len(documents)).tolist():
        if passages < limit:
            chosen.add(index)
            passages += len(documents[index])
    return [record for index in sorted(chosen) for record in documents[index]][:limit]


def _title(record: Record) -> str:
    return str(record.get("title") or "")


def _labels(part: _Part, sampling: Sampling) -> list[Dataset]:
    measured, fitted = part.measured, part.fitted
    if not fitted:
        # Without a train split every second record is fitted on: of each label, as they may come
        # in turns.
        by_label = sorted(zip(_labels_of(measured), measured, strict=True), key=itemgetter(0))
        measured, fitted = ([record for _, record in by_label[start::2]] for start in (0, 1))
    fitted = _evenly(part.name, fitted, sampling)
    measured = _sample(part.name, measured, sampling)
    columns = [
        column
        for each in (measured, fitted)
        for column in (_column(each, "text"), _labels_of(each))
    ]
    return _with_different_labels(Labels(part.file, part.language, *columns))


def _with_different_labels(labels: Labels) -> list[Dataset]:
    """The dataset, or nothing if its texts all have one label."""
    different = min(len(set(labels.labels)), len(set(labels.fit_labels)))
    return [labels] if different >= MIN_DIFFERENT else []


def _evenly(name: str, records: Sequence[Record], sampling: Sampling) -> list[Record]:
    """At most MAX_FITTED records, as many of each label and at least one."""
    by_label: dict[str, list[Record]] = defaultdict(list)
    for record, label in zip(records, _labels_of(records), strict=True):
        by_label[label].append(record)
    most = min(MAX_FITTED, FITTED_PER_MEASURED * (sampling.limit or MAX_FITTED))
    each = max(1, most // max(1, len(by_label)))
    return [
        group[index]
        for label, group in sorted(by_label.items())
        for index in sampling.sample(f"{name} {label}", len(group), each)
    ]


def _labels_of(records: Sequence[Record]) -> tuple[str, ...]:
    """Each record's label; "" where it has none."""
    return tuple(
        str(next((record[field] for field in LABEL_FIELDS if field in record), ""))
        for record in records
    )


def _parallel(part: _Part, sampling: Sampling) -> list[Dataset]:
    """Parallel texts of the pivot (English, or the first language) with each language, and labelled
    texts of each language, whose probe is fitted on the pivot alone."""
    measured = _sample(part.name, part.measured, sampling)
    there = _languages_of_all(part.measured)
    languages = [lang for lang in dict.fromkeys(sampling.languages or LANGUAGES) if lang in there]
    if not languages and not sampling.languages:
        languages = there
    if not languages:
        return []
    pivot = "en" if "en" in languages else languages[0]
    texts = {lang: _column(measured, lang) for lang in languages}
    datasets: list[Dataset] = [
        Parallel(part.file, f"{pivot}-{lang}", texts[pivot], texts[lang])
        for lang in languages
        if lang != pivot
    ]
    fitted = _evenly(part.name, [record for record in part.fitted if pivot in record], sampling)
    labels, fit = _labels_of(measured), (_column(fitted, pivot), _labels_of(fitted))
    for lang in languages:
        datasets += _with_different_labels(Labels(part.file, lang, texts[lang], labels, *fit))
    return datasets


def _sentences(part: _Part, sampling: Sampling) -> list[Dataset]:
    """Parallel texts of each two languages: the sentences that all languages have."""
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for record in part.measured:
        if sampling.languages and record["lang"] not in sampling.languages:
            continue
        texts[record["lang"]][record["sentence"]] = record["text"]
    common = sorted(set.intersection(*map(set, texts.values()))) if texts else []
    sample = sampling.sample(part.name, len(common), sampling.limit)
    sides = {lang: tuple(each[common[index]] for index in sample) for lang, each in texts.items()}
    return [
        Parallel(part.file, f"{a}-{b}", sides[a], sides[b])
        for a, b in combinations(sides, 2)
        if common
    ]
