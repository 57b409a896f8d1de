"""Data: JSONL files of pairs, triples, scored pairs or labelled texts.

| kind | fields |
|---|---|
| pairs | `anchor` and `positive` |
| triples | `anchor`, `positive` and `negative` |
| scored pairs | `sentence1`, `sentence2` and `score` |
| labelled texts | `text` and `label` |

Instead of `anchor` and `sentence1` there may be `query`, `question` or `a`; instead of `positive`
and `sentence2` there may be `passage`, `answer` or `b`. Further fields are ignored, but for
`split`: records of another split than train are left out.
"""

import gzip
import json
import lzma
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from model.training.errors import DataError

FIRST = ("anchor", "sentence1", "query", "question", "a")
SECOND = ("positive", "sentence2", "passage", "answer", "b")
TRAIN = ("train", "training")
_OPENERS: dict[str, Callable[..., IO[str]]] = {".xz": lzma.open, ".gz": gzip.open}


@dataclass(frozen=True, slots=True)
class Examples:
    """What is learned from.

    `columns` are the texts, one column for each side: (anchors, positives), (anchors, positives,
    negatives), (firsts, seconds) or (texts,). `values` are scores or labels, one a record, or none.
    """

    kind: str
    columns: tuple[tuple[str, ...], ...]
    values: tuple[float | str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns[0])

    def only(self, indices: Sequence[int]) -> "Examples":
        """The records of these indices, in this order."""
        columns = tuple(tuple(column[index] for index in indices) for column in self.columns)
        values = tuple(self.values[index] for index in indices) if self.values else ()
        return Examples(self.kind, columns, values)


PAIRS, TRIPLES, SCORED, LABELLED = "pairs", "triples", "scored pairs", "labelled texts"


def read_examples(path: Path) -> Examples:
    """Read a .jsonl file, which may be compressed (.xz, .gz).

    Raises:
        DataError: the file is missing or empty, a line is not a record of one of the kinds, or of
            another kind than the lines before it; the sentence names file and line.
    """
    kind, records = None, []
    for number, fields in _lines(path):
        where = f"{path}, line {number}"
        if "split" in fields and fields["split"] not in TRAIN:
            continue
        own, texts, value = _record(fields, where)
        if kind not in (None, own):
            raise DataError(f"{where} is of the kind {own}; the lines before it are {kind}.")
        kind = own
        records.append((texts, value))
    if kind is None:
        raise DataError(f"{path} has no records to learn from.")
    columns = tuple(zip(*(texts for texts, _ in records), strict=True))
    values = tuple(value for _, value in records if value is not None)
    return Examples(kind, columns, values)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of the lines that are not empty, with their numbers."""
    opener = _OPENERS.get(path.suffix, open)
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            yield from _objects(file, path)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}") from None


def _objects(file: IO[str], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number} is not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise DataError(f"{path}, line {number} must be an object with named fields.")
        yield number, fields


def _record(fields: dict[str, Any], where: str) -> tuple[str, tuple[str, ...], float | str | None]:
    """A record's kind, its texts, and its score or label."""
    first, second = (_only(fields, names, where) for names in (FIRST, SECOND))
    if first and second and "text" not in fields:
        sides = (_text(fields, first, where), _text(fields, second, where))
        if "score" in fields:
            return SCORED, sides, _score(fields["score"], where)
        if "negative" in fields:
            return TRIPLES, (*sides, _text(fields, "negative", where)), None
        return PAIRS, sides, None
    if "text" in fields and "label" in fields and not (first or second):
        return LABELLED, (_text(fields, "text", where),), _label(fields["label"], where)
    raise DataError(
        f"{where} has the fields {', '.join(fields) or 'of nothing'}; needed are anchor and "
        "positive (and negative), or sentence1, sentence2 and score, or text and label."
    )


def _only(fields: dict[str, Any], names: tuple[str, ...], where: str) -> str | None:
    found = [name for name in names if name in fields]
    if len(found) > 1:
        raise DataError(f"{where} has both {found[0]} and {found[1]}, which mean the same.")
    return found[0] if found else None


def _text(fields: dict[str, Any], name: str, where: str) -> str:
    text = fields[name]
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: {name} must be a text that is not empty, not {text!r}.")
    return text


def _score(score: Any, where: str) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float) or score != score:
        raise DataError(f"{where}: score must be a number, not {score!r}.")
    return float(score)


def _label(label: Any, where: str) -> str:
    if isinstance(label, bool) or not isinstance(label, int | str) or label == "":
        raise DataError(f"{where}: label must be a name or a whole number, not {label!r}.")
    return str(label)
