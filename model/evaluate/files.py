"""Reads a folder of JSONL files, and tells by its fields which kind of records each file has.

pairs      {"a", "b", "score"}                                   and lang, split
questions  {"questions": [...] or "question", "passage"}         and lang, title, split
           passage_lang, where it is not the questions'
labels     {"text", "label"}                                     and set, lang, split
parallel   {"split", "en", "de", ...}: one text in many languages, and topic or label
sentences  {"text", "lang"}: and `sentence`, which is equal for the same sentence in other languages

A file's first record decides its kind, and all others must be of it. model.records says how files
are read: compressed ones too, and labels that are whole numbers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.evaluate.errors import EvaluationError
from model.records import (
    DEV,
    TEST,
    TRAIN,
    LineError,
    ParsedRecord,
    RecordsError,
    id_of,
    jsonl_files,
    label_of,
    raise_errors,
    read_file,
    score_of,
    text_of,
    unpacked,
)
from model.unicode import well_formed

Record = Mapping[str, Any]

SPLITS = (*DEV, *TEST, *TRAIN)
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
            a record of the kind of the file's first line, or two files have one name.
    """
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is not a folder.")
    files: list[File] = []
    passed_over: list[str] = []
    path = folder
    try:
        paths = jsonl_files(folder)
        for path in paths:
            file, sentences = _read(path)
            if double := {each.name for each in files} & {each.name for each in file}:
                raise EvaluationError(
                    f"{folder} has two files {double.pop()}: {path.name} and one of another ending."
                )
            files += file
            passed_over += sentences
    except RecordsError as error:
        where = f"{path}, " if isinstance(error, LineError) else ""
        raise EvaluationError(f"{where}{error}") from None
    if not paths:
        raise EvaluationError(f"{folder} has no file that ends in .jsonl (.jsonl.gz, .jsonl.xz).")
    return files, passed_over


def _read(path: Path) -> tuple[list[File], list[str]]:
    """The file, or nothing if it cannot be evaluated, and a sentence for what is passed over.

    Raises:
        RecordsError: the file cannot be read, or a line is not a record of its kind.
    """
    shown = well_formed(path.name)  # a name that is not UTF-8 could not be printed
    found = list(raise_errors(read_file(path, "jsonl")))
    kind = kind_of(found[0].fields) if found else None
    if kind is None:
        reason = f"its fields are {', '.join(found[0].fields)[:60]}" if found else "it is empty"
        return [], [f"{shown}: nothing to measure with, {reason}"]
    records = tuple(_checked(each, kind) for each in found)
    sentences = []
    if repaired := sum(each.repaired for each in found):
        what = f"the lone surrogates of {repaired} records, which are read as U+FFFD"
        sentences.append(f"{shown}: {what}")
    if kind == "questions" and (blank := sum(map(_blank_questions, records))):
        sentences.append(f"{shown}: {blank} questions without text")
    if kind == "sentences":
        of_several = tuple(record for record in records if "sentence" in record)
        if alone := len(records) - len(of_several):
            sentences.append(f"{shown}: {alone} sentences that are in one language only")
        records = of_several
    return [File(Path(unpacked(shown)).stem, kind, records)], sentences


def kind_of(record: Record) -> str | None:
    """The kind that a record's fields belong to, or None."""
    fields = record.keys()
    if {"a", "b", "score"} <= fields:
        return "pairs"
    if "passage" in fields and fields & {"question", "questions"}:
        return "questions"
    if {"text", "label"} <= fields:
        return "labels"
    if {"text", "lang"} <= fields:
        return "sentences"
    if "split" in fields and len(languages_of(record)) > 1:
        return "parallel"
    return None


def languages_of(record: Record) -> tuple[str, ...]:
    """The languages that a parallel record has, in its order."""
    return tuple(name for name in record if _LANGUAGE.fullmatch(name))


def _all_questions(record: Record) -> Any:
    return record["questions"] if "questions" in record else [record["question"]]


def questions_of(record: Record) -> list[str]:
    """The questions of a record, one or a list, without blank ones."""
    return [question for question in _all_questions(record) if question.strip()]


def _blank_questions(record: Record) -> int:
    return len(_all_questions(record)) - len(questions_of(record))


def _checked(found: ParsedRecord, kind: str) -> Record:
    """
    Raises:
        LineError: the record is not of this kind, or a field not of its type.
    """
    record = found.fields
    if kind_of(record) != kind:
        raise LineError(found.line, f"not {kind} like the first line of the file.")
    if kind == "pairs":
        score_of(found, "score")
    same: Record = {}
    if "sentence" in record and kind == "sentences":
        same = {"sentence": str(id_of(found, "sentence"))}
    if kind == "questions":
        asked = _all_questions(record)
        if not isinstance(asked, list) or not all(isinstance(each, str) for each in asked):
            raise LineError(found.line, f"its questions are {asked!r:.60}, not texts.")
    for name in _text_fields(record, kind):
        text_of(found, name)
    split = record.get("split", DEV[0])
    if split not in SPLITS:
        raise LineError(found.line, f"split is {split!r}, not one of {', '.join(SPLITS)}.")
    labels = [name for name in LABEL_FIELDS if name in record and kind in ("labels", "parallel")]
    return {**record, **same, **{name: label_of(found, name) for name in labels}}


def _text_fields(record: Record, kind: str) -> list[str]:
    fields = {
        "pairs": ["a", "b"],
        "questions": ["passage"],
        "labels": ["text"],
        "sentences": ["text"],
        "parallel": list(languages_of(record)),
    }[kind]
    return fields + [name for name in ("lang", "split", "set", "passage_lang") if name in record]
