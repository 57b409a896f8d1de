"""Arguments: checks of the arguments of `embed_texts` and `embed_documents`, before any work.

Python code passes what HTTP cannot: arrays, generators, a table's missing values.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from model.chunking import BY_VALUES, By, Chunking, unused
from model.config import EncoderConfig
from model.quoting import quoted
from model.tasks import Task
from model.tokenizer import RowOptions, TokenizedInputs, Tokenizer, TooManyTokensError
from model.unicode import Int64Array, well_formed
from model.windows import default_overlap


def texts_of(texts: str | Iterable[str]) -> list[str]:
    """The texts of an iterable (a list, an array, a column of a table, a generator) or of one str.

    Raises:
        TypeError: it is something else, or an item is no str; the message has the item's index.
    """
    if isinstance(texts, str):
        return [str(texts)]
    # Iterating a mapping or a table gives the names of its columns.
    one_dimension = getattr(texts, "ndim", 1) == 1
    if isinstance(texts, bytes | Mapping) or not isinstance(texts, Iterable) or not one_dimension:
        raise TypeError(
            f"texts must be a str or a one-dimensional iterable of str, not {_type(texts)}."
        )
    items = list(texts)
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise TypeError(f"texts[{index}] is {quoted(item)}, of type {_type(item)}, not str.")
    return [str(item) for item in items]  # an array's items are of a subclass of str


def whole_number(name: str, value: Any, least: int, most: int) -> int:
    """A whole number from `least` to `most`, both included.

    Raises:
        TypeError: it is no whole number, as True and 2.0 are none.
        ValueError: it is out of range.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number from {least} to {most}, not {value!r}.")
    if not least <= number <= most:
        raise ValueError(f"{name} is {number}; this model takes {least} to {most}.")
    return number


def check_flags(**flags: Any) -> None:
    """
    Raises:
        TypeError: one is neither True nor False ("no" would count as True).
    """
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, not {value!r}.")


def checked_overlap(
    overlap: int | None, config: EncoderConfig, *, late_chunking: bool
) -> int | None:
    """The tokens by which a document's windows overlap, from 0 to half of the model's limit.

    Raises:
        TypeError, ValueError: it is no such number, or `late_chunking` is false.
    """
    if overlap is None:
        return None
    if not late_chunking:
        raise ValueError("late_chunking_overlap needs late_chunking=True.")
    return whole_number("late_chunking_overlap", overlap, 0, config.max_tokens // 2)


def checked_chunking(by: str, sizes: tuple[int, int, int], config: EncoderConfig) -> Chunking:
    """How documents are cut; `sizes` are max_tokens, min_tokens and overlap.

    Raises:
        TypeError, ValueError: one is no number, is out of range, or has no effect with this `by`.
    """
    if by not in BY_VALUES:
        raise ValueError(f"by is {quoted(by)}; it may be {', '.join(BY_VALUES)}.")
    most = whole_number("max_tokens", sizes[0], 1, config.max_tokens)
    least = whole_number("min_tokens", sizes[1], 0, most)
    chunking = Chunking(cast(By, by), most, least, whole_number("overlap", sizes[2], 0, most // 2))
    if name := unused(chunking):
        raise ValueError(f"{name} does not count where by is {by!r}.")
    return chunking


def checked_spans(
    by: str, spans: Sequence[Sequence[tuple[int, int]]] | None, texts: list[str]
) -> list[Int64Array] | None:
    """The caller's spans of each text, (C, 2) each in code points, or None if `by` asks for none.

    Raises:
        TypeError: those of a text are no pairs of whole numbers.
        ValueError: they are missing or not asked for, or one is empty or outside of its text, or
            the text has characters in two halves, which are read as one.
    """
    if (by == "spans") != (spans is not None):
        raise ValueError("spans and by='spans' need each other.")
    if spans is None:
        return None
    if len(spans) != len(texts):
        raise ValueError(f"spans are of {len(spans)} texts, and there are {len(texts)}.")
    found = []
    for index, (text, text_spans) in enumerate(zip(texts, spans, strict=True)):
        if halves := len(text) - len(well_formed(text)):
            raise ValueError(
                f"texts[{index}] has {halves} characters in two halves, which are read as one, so "
                "that spans would be elsewhere; join them: "
                'text.encode("utf-16", "surrogatepass").decode("utf-16").'
            )
        each = _pairs(f"spans[{index}]", text_spans)
        wrong = (each[:, 0] < 0) | (each[:, 0] >= each[:, 1]) | (each[:, 1] > len(text))
        if len(bad := np.flatnonzero(wrong)):
            sentence = f"spans[{index}][{bad[0]}] is {tuple(each[bad[0]].tolist())}"
            raise ValueError(f"{sentence}; texts[{index}] has {len(text)} code points.")
        found.append(each)
    return found


def _pairs(name: str, spans: Sequence[tuple[int, int]]) -> Int64Array:
    """Spans as an array (C, 2); a part of a number is not cut off, nor are other shapes cut up."""
    try:
        found = np.array(spans)
    except ValueError:  # of several lengths
        found = np.array(None)
    if found.shape == (0,):
        return np.empty((0, 2), np.int64)
    if found.ndim != 2 or found.shape[1] != 2 or found.dtype.kind not in "iu":
        raise TypeError(f"{name} must be pairs of whole numbers (start, end), not {quoted(spans)}.")
    return found.astype(np.int64)


def rows_of(
    texts: list[str], task: Task, options: RowOptions, tokenizer: Tokenizer
) -> TokenizedInputs:
    """Texts -> rows; no texts give no rows.

    Raises:
        TooManyTokensError: a text or the document is over the limit; the message says what to pass.
    """
    if not texts:
        return TokenizedInputs((), 0, ())
    try:
        return tokenizer.rows(texts, task, options)
    except TooManyTokensError as error:
        by_windows = error.index is None and options.overlap is None
        overlap = default_overlap(tokenizer.max_tokens)
        windows = f", or late_chunking_overlap={overlap} for windows" if by_windows else ""
        error.args = (f"{error} Pass truncate=True to cut at the limit{windows}.",)
        raise


def _type(value: Any) -> str:
    return type(value).__qualname__
