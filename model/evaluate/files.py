"""Files: a folder of JSONL files -> records, and what kind of records a file has.

pairs      {"a", "b", "score"}                                   and lang, split
questions  {"questions": [...] or "question", "passage"}         and lang, title, split
           passage_lang, where it is not the questions'
labels     {"text", "label"}                                     and set, lang, split
parallel   {"split", "en", "de", ...}: one text in many languages, and topic or label

A file's first record says its kind, and all others must be of it. Files may be compressed with xz.
"""

import json
import lzma
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from model.evaluate.errors import EvaluationError

Record = Mapping[str, Any]

DEV, TEST, TRAIN = ("dev", "val", "valid", "validation"), ("test",), ("train", "training")
SPLITS = (*DEV, *TEST, *TRAIN)
ENDINGS = (".jsonl", ".jsonl.xz")
LABEL_FIELDS = ("label", "topic")
_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z]{2,4})?")


@dataclass(frozen=True, slots=True)
class File:
    """A file's name without its ending, its kind, and its records in order."""

    name: str
    kind: str
    records: tuple[Record, ...]


def read_folder(folder: Path) -> tuple[list[File], list[str]]:
    """The files that can be evaluated, by name, and a sentence for each that is passed over.

    Raises:
        EvaluationError: there is no such folder or no JSONL file in it, or a line of a file is not
            what the file's first line promises.
    """
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is not a folder.")
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(ENDINGS))
    if not paths:
        raise EvaluationError(f"{folder} has no file that ends in {' or '.join(ENDINGS)}.")
    files, passed_over = [], []
    for path in paths:
        name = path.name.removesuffix(".xz").removesuffix(".jsonl")
        records = _records(path)
        first = next(records, None)
        kind = None if first is None else kind_of(first)
        if first is None or kind is None:
            fields = "it is empty" if first is None else f"its fields are {', '.join(first)[:60]}"
            passed_over.append(f"{path.name}: nothing to measure with, {fields}")
            continue
        checked = enumerate(records, start=2)
        rest = [_checked(record, kind, path, number) for number, record in checked]
        file = File(name, kind, (_checked(first, kind, path, 1), *rest))
        files.append(file)
        blank = _blank_questions(file)
        if blank:
            passed_over.append(f"{path.name}: {blank} questions without text")
    return files, passed_over


def kind_of(record: Record) -> str | None:
    """The kind that a record's fields say, or None."""
    fields = record.keys()
    if {"a", "b", "score"} <= fields:
        return "pairs"
    if "passage" in fields and fields & {"question", "questions"}:
        return "questions"
    if {"text", "label"} <= fields:
        return "labels"
    if "split" in fields and len(languages_of(record)) > 1:
        return "parallel"
    return None


def languages_of(record: Record) -> tuple[str, ...]:
    """The languages that a parallel record has, in its order."""
    return tuple(name for name in record if _LANGUAGE.fullmatch(name))


def questions_of(record: Record) -> list[str]:
    """The questions of a record, one or a list, without blank ones."""
    asked = record["questions"] if "questions" in record else [record["question"]]
    return [question for question in asked if question.strip()]


def _blank_questions(file: File) -> int:
    if file.kind != "questions":
        return 0
    asked = (len(record.get("questions", "1")) for record in file.records)
    return sum(asked) - sum(len(questions_of(record)) for record in file.records)


def _records(path: Path) -> Iterator[Record]:
    opened: IO[str]
    try:
        with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf-8") as opened:
            for number, line in enumerate(opened, start=1):
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise EvaluationError(f"{path}, line {number}: not JSON: {error}.") from None
                if not isinstance(record, dict):
                    raise EvaluationError(f"{path}, line {number}: not a JSON object.")
                yield record
    except (OSError, lzma.LZMAError, UnicodeDecodeError, EOFError) as error:
        raise EvaluationError(f"cannot read {path}: {error}.") from None


def _checked(record: Record, kind: str, path: Path, number: int) -> Record:
    """The record, if it is of the file's kind and its fields are of their types.

    Raises:
        EvaluationError: it is not.
    """
    where = f"{path}, line {number}"
    if kind_of(record) != kind:
        raise EvaluationError(f"{where}: not {kind} like the first line of the file.")
    if kind == "pairs":
        score = record["score"]
        if not isinstance(score, (int, float)) or isinstance(score, bool) or score != score:
            raise EvaluationError(f"{where}: score is {score!r}, not a number.")
    texts = {name: record[name] for name in _text_fields(record, kind)}
    if kind == "questions":
        asked = record.get("questions", [record.get("question")])
        if not isinstance(asked, list) or not all(isinstance(each, str) for each in asked):
            raise EvaluationError(f"{where}: its questions are {asked!r:.60}, not texts.")
    for name, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise EvaluationError(f"{where}: {name} is {str(text)[:40]!r}, not a text.")
    split = record.get("split", DEV[0])
    if split not in SPLITS:
        raise EvaluationError(f"{where}: split is {split!r}, not one of {', '.join(SPLITS)}.")
    return record


def _text_fields(record: Record, kind: str) -> list[str]:
    fields = {
        "pairs": ["a", "b"],
        "questions": ["passage"],
        "labels": ["text", "label"],
        "parallel": list(languages_of(record)),
    }[kind]
    return fields + [name for name in ("lang", "split", "set", "passage_lang") if name in record]
