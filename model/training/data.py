"""Reads training data: JSONL files of pairs, triples, scored pairs or labelled texts.

| kind | fields |
|---|---|
| pairs | `anchor` and `positive` |
| triples | `anchor`, `positive` and `negative` |
| scored pairs | `sentence1`, `sentence2` and `score` |
| labelled texts | `text` and `label` |

Instead of `anchor` and `sentence1` there may be `query`, `question` or `a`; instead of `positive`
and `sentence2` there may be `passage`, `answer` or `b`. Further fields are ignored, but for
`split`: records of another split than train are left out, but for dev in a file to validate with.
model.records says how files are read:
compressed ones too, and labels that are whole numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.records import (
    DEV,
    TRAIN,
    LineError,
    ParsedRecord,
    RecordsError,
    label_of,
    raise_errors,
    read_file,
    score_of,
    text_of,
)
from model.training.errors import TrainingError

FIRST = ("anchor", "sentence1", "query", "question", "a")
SECOND = ("positive", "sentence2", "passage", "answer", "b")
PAIRS, TRIPLES, SCORED, LABELLED = "pairs", "triples", "scored pairs", "labelled texts"


@dataclass(frozen=True, slots=True)
class Examples:
    """Records of one kind, by column.

    `columns` are the texts: (anchors, positives), (anchors, positives, negatives), (firsts,
    seconds) or (texts,). `values` are scores or labels, one a record, or empty. `repaired` is the
    number of records in which U+FFFD replaces lone surrogates.
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


# A record's kind, its texts, and its score or label.
_Example = tuple[str, tuple[str, ...], float | str | None]


def read_examples(path: Path, *, validation: bool = False) -> Examples:
    """Read a .jsonl file, which may be compressed. Of a file to validate with, records of the
    validation split are taken where there are any, and those to learn from where there are none.

    Raises:
        TrainingError: the file is missing or empty, a line is not a record of one of the kinds, or
            of another kind than the lines before it; the sentence names file and line.
    """
    try:
        examples, repaired = _read(path, DEV if validation else TRAIN)
        if validation and not examples:
            examples, repaired = _read(path, TRAIN)
    except RecordsError as error:
        where = f"{path}, " if isinstance(error, LineError) else ""
        raise TrainingError(f"{where}{error}") from None
    if not examples:
        raise TrainingError(f"{path} has no records to learn from.")
    columns = tuple(zip(*(texts for _, texts, _ in examples), strict=True))
    values = tuple(value for _, _, value in examples if value is not None)
    return Examples(examples[0][0], columns, values, repaired)


def _read(path: Path, splits: Sequence[str]) -> tuple[list[_Example], int]:
    """The records of these splits, all of one kind, and how many were repaired.

    Raises:
        RecordsError: the file cannot be read, or a line of it is not such a record.
    """
    examples: list[_Example] = []
    repaired = 0
    for found in raise_errors(read_file(path, "jsonl")):
        if found.fields.get("split", TRAIN[0]) not in splits:
            continue
        examples.append(_example(found))
        repaired += found.repaired
        if examples[-1][0] != (kind := examples[0][0]):
            what = f"it is of the kind {examples[-1][0]}; those before it are {kind}."
            raise LineError(found.line, what)
    return examples, repaired


def _example(found: ParsedRecord) -> _Example:
    """
    Raises:
        LineError: the record is of no kind, or a field not of its type.
    """
    fields = found.fields
    first, second = (_one_of(found, names) for names in (FIRST, SECOND))
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


def _one_of(found: ParsedRecord, names: tuple[str, ...]) -> str | None:
    """The one of these names that the record has, or None."""
    present = [name for name in names if name in found.fields]
    if len(present) > 1:
        what = f"it has both {present[0]} and {present[1]}, which mean the same."
        raise LineError(found.line, what)
    return present[0] if present else None
