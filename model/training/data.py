"""Data: JSONL files of pairs, triples, scored pairs or labelled texts.

| kind | fields |
|---|---|
| pairs | `anchor` and `positive` |
| triples | `anchor`, `positive` and `negative` |
| scored pairs | `sentence1`, `sentence2` and `score` |
| labelled texts | `text` and `label` |

Instead of `anchor` and `sentence1` there may be `query`, `question` or `a`; instead of `positive`
and `sentence2` there may be `passage`, `answer` or `b`. Further fields are ignored, but for
`split`: records of another split than train are left out. model.records says how files are read:
packed ones too, and labels that are whole numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.records import (
    LineError,
    ParsedRecord,
    RecordsError,
    label_of,
    raise_errors,
    read_file,
    score_of,
    text_of,
)
from model.training.errors import DataError

FIRST = ("anchor", "sentence1", "query", "question", "a")
SECOND = ("positive", "sentence2", "passage", "answer", "b")
TRAIN = ("train", "training")


@dataclass(frozen=True, slots=True)
class Examples:
    """What is learned from.

    `columns` are the texts, one column for each side: (anchors, positives), (anchors, positives,
    negatives), (firsts, seconds) or (texts,). `values` are scores or labels, one a record, or none.
    `repaired` records had lone surrogates, for which U+FFFD stands now.
    """

    kind: str
    columns: tuple[tuple[str, ...], ...]
    values: tuple[float | str, ...] = ()
    repaired: int = 0

    def __len__(self) -> int:
        return len(self.columns[0])

    def only(self, indices: Sequence[int]) -> "Examples":
        """The records of these indices, in this order."""
        columns = tuple(tuple(column[index] for index in indices) for column in self.columns)
        values = tuple(self.values[index] for index in indices) if self.values else ()
        return Examples(self.kind, columns, values)


PAIRS, TRIPLES, SCORED, LABELLED = "pairs", "triples", "scored pairs", "labelled texts"


def read_examples(path: Path) -> Examples:
    """Read a .jsonl file, which may be packed.

    Raises:
        DataError: the file is missing or empty, a line is not a record of one of the kinds, or of
            another kind than the lines before it; the sentence names file and line.
    """
    kind: str | None = None
    records, repaired = [], 0
    try:
        for found in raise_errors(read_file(path, "jsonl")):
            if "split" in found.fields and found.fields["split"] not in TRAIN:
                continue
            kind, texts, value = _record(found, kind)
            repaired += found.repaired
            records.append((texts, value))
    except LineError as error:
        raise DataError(f"{path}, {error}") from None
    except RecordsError as error:
        raise DataError(str(error)) from None
    if kind is None:
        raise DataError(f"{path} has no records to learn from.")
    columns = tuple(zip(*(texts for texts, _ in records), strict=True))
    values = tuple(value for _, value in records if value is not None)
    return Examples(kind, columns, values, repaired)


def _record(
    found: ParsedRecord, kind: str | None
) -> tuple[str, tuple[str, ...], float | str | None]:
    """A record's kind, which is that of those before it, its texts, and its score or label."""
    own, texts, value = _judged(found)
    if kind not in (None, own):
        raise LineError(found.line, f"it is of the kind {own}; those before it are {kind}.")
    return own, texts, value


def _judged(found: ParsedRecord) -> tuple[str, tuple[str, ...], float | str | None]:
    fields = found.fields
    first, second = (_only(found, names) for names in (FIRST, SECOND))
    if first and second and "text" not in fields:
        sides = (text_of(found, first), text_of(found, second))
        if "score" in fields:
            return SCORED, sides, score_of(found, "score")
        if "negative" in fields:
            return TRIPLES, (*sides, text_of(found, "negative")), None
        return PAIRS, sides, None
    if "text" in fields and "label" in fields and not (first or second):
        return LABELLED, (text_of(found, "text"),), label_of(found, "label")
    raise LineError(
        found.line,
        f"its fields are {', '.join(fields) or 'none'}; needed are anchor and positive (and "
        "negative), or sentence1, sentence2 and score, or text and label.",
    )


def _only(found: ParsedRecord, names: tuple[str, ...]) -> str | None:
    there = [name for name in names if name in found.fields]
    if len(there) > 1:
        raise LineError(found.line, f"it has both {there[0]} and {there[1]}, which mean the same.")
    return there[0] if there else None
