"""Corpora: the text that the embedded model is made from, a folder of JSONL files (*.jsonl.xz).

Kinds of rows, told apart by their fields:

- translations: "en" beside other language codes; sentences of one document follow each other;
- words: "words", "gloss" and "examples", as a dictionary has them;
- questions: "passage", "title" and "questions", in the language "lang";
- labelled texts: "text" and "label", in a "set"; translations with a "topic" are labelled, too;
- sentences: "text" in the language "lang"; those of one document follow each other;
- scored pairs: "a", "b" and "score". They are for evaluation only.

Rows whose "split" is not "train" are for evaluation only. A text that says the same as one of
theirs, letter by letter without case, is not trained on, whatever file it stands in.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.quoting import quoted
from model.records import (
    LineError,
    ParsedRecord,
    RecordsError,
    jsonl_files,
    label_of,
    raise_errors,
    read_file,
    text_of,
    unpacked,
)
from model.training.errors import TrainingError

ENGLISH = "en"
_NOT_LETTERS = re.compile(r"[\W\d_]+")
# Two texts of fewer letters are the same word by chance, not the same sentence.
_FEWEST_LETTERS = 8
_CODE = re.compile(r"[a-z]{2,3}")
_NO_CODES = ("set",)
# What a row needs that has the field, the first one in this order.
_NEEDED = {
    "passage": ("lang", "questions"),
    "gloss": ("words", "examples"),
    "label": ("text",),
    ENGLISH: (),
    "text": ("lang",),
}
_TEXTS = {"text", "passage", "a", "b", "gloss", "lang", "set"}
_LISTS, _LABELS = {"questions", "words", "examples"}, {"label", "topic"}


@dataclass(frozen=True, slots=True)
class Item:
    """A text, and the English text of the same meaning, or itself where there is none."""

    source: str
    lang: str
    text: str
    english: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage and questions that it answers."""

    lang: str
    title: str
    text: str
    questions: tuple[str, ...]


@dataclass(slots=True)
class Corpora:
    """What may be trained on.

    `glosses` are words with what they mean, `labelled` texts with their labels by set. `held_out`
    are the letters of texts for evaluation.
    """

    items: list[Item] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    glosses: list[tuple[str, str]] = field(default_factory=list)
    labelled: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    held_out: frozenset[str] = frozenset()

    def usable(self, text: str) -> bool:
        """Whether a text may be trained on."""
        return bool(text) and _letters(text) not in self.held_out


def read_corpora(folder: Path) -> Corpora:
    """Read the files of a folder in the order of their names.

    Raises:
        TrainingError: there are none, or a line cannot be understood; says which.
    """
    try:
        files = jsonl_files(folder)
    except RecordsError as error:
        raise TrainingError(str(error)) from None
    if not files:
        raise TrainingError(f"{folder} has no JSONL files (*.jsonl.xz).")
    rows = {Path(unpacked(path.name)).stem: list(_rows(path)) for path in files}
    held_out = frozenset(
        letters
        for file in rows.values()
        for row in file
        if _for_evaluation(row)
        for text in _texts(row)
        if len(letters := _letters(text)) >= _FEWEST_LETTERS
    )
    gathering = _Gathering(Corpora(held_out=held_out))
    for name, file in rows.items():
        for row in file:
            if not _for_evaluation(row):
                gathering.add(name, row)
    return gathering.corpora


class _Gathering:
    """Sorts rows by their kind."""

    def __init__(self, corpora: Corpora) -> None:
        self.corpora = corpora
        self._usable = corpora.usable

    def add(self, source: str, row: dict[str, Any]) -> None:
        if "passage" in row:
            self._passage(row)
        elif "gloss" in row:
            self._word(row)
        elif "label" in row:
            self._english("labelled", row["text"])
            self._label(row.get("set", source), row["text"], row["label"])
        elif ENGLISH in row:
            self._translations(source, row)
        elif "text" in row and self._usable(row["text"]):
            self.corpora.items.append(Item(source, row["lang"], row["text"], row["text"]))

    def _passage(self, row: dict[str, Any]) -> None:
        questions = tuple(filter(self._usable, row["questions"]))
        if questions and self._usable(row["passage"]):
            self.corpora.passages.append(
                Passage(row["lang"], row.get("title", ""), row["passage"], questions)
            )

    def _word(self, row: dict[str, Any]) -> None:
        for word in row["words"]:
            self._english("word", word)
            if self._usable(row["gloss"]):
                self.corpora.glosses.append((word, row["gloss"]))
        self._english("gloss", row["gloss"])
        for example in row["examples"]:
            self._english("example", example)

    def _translations(self, source: str, row: dict[str, Any]) -> None:
        for lang, text in row.items():
            if _is_code(lang) and self._usable(text) and self._usable(row[ENGLISH]):
                self.corpora.items.append(Item(source, lang, text, row[ENGLISH]))
                if "topic" in row:
                    self._label(source, text, row["topic"])

    def _english(self, source: str, text: str) -> None:
        if self._usable(text):
            self.corpora.items.append(Item(source, ENGLISH, text, text))

    def _label(self, name: str, text: str, label: str) -> None:
        if self._usable(text):
            self.corpora.labelled.setdefault(name, []).append((text, label))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        for found in raise_errors(read_file(path, "jsonl")):
            yield _checked(found)
    except LineError as error:
        raise TrainingError(f"{path.name}, {error}") from None
    except RecordsError as error:
        raise TrainingError(str(error)) from None


def _checked(found: ParsedRecord) -> dict[str, Any]:
    """The fields of a row, in which those are that its kind needs, of their types.

    Raises:
        LineError: one is missing, or of another type.
    """
    fields = found.fields
    kind = next((name for name in _NEEDED if name in fields), "")
    for name in _NEEDED.get(kind, ()):
        if name not in fields:
            raise LineError(found.line, f"it has {kind!r}, and no {name!r}.")
    codes = {name for name in fields if ENGLISH in fields and _is_code(name)}
    missing = {name for name in codes - {ENGLISH} if fields[name] is None}
    for name in (_TEXTS | codes) & fields.keys() - missing:
        text_of(found, name, blank=True)
    for name in _LISTS & fields.keys():
        each = fields[name]
        if not isinstance(each, list) or not all(isinstance(text, str) for text in each):
            raise LineError(
                found.line, f"the field {name!r} is {quoted(each)}, not a list of texts."
            )
    labels = {name: label_of(found, name) for name in _LABELS & fields.keys()}
    return {**{name: fields[name] for name in fields if name not in missing}, **labels}


def _for_evaluation(row: dict[str, Any]) -> bool:
    return "score" in row or row.get("split", "train") != "train"


def _texts(row: dict[str, Any]) -> Iterator[str]:
    """The texts of a row that a training text must not equal."""
    if "passage" in row:
        yield row["passage"]
        yield from row["questions"]
        return
    for name in ("a", "b", "text"):
        if name in row:
            yield row[name]
    for name, text in row.items():
        if ENGLISH in row and _is_code(name):
            yield text


def _letters(text: str) -> str:
    return _NOT_LETTERS.sub("", text.casefold())


def _is_code(name: str) -> bool:
    return name not in _NO_CODES and _CODE.fullmatch(name) is not None
