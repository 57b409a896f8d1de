"""Validates caller-given spans; reports only the first invalid one of what may be a million."""

from typing import Any

from pydantic_core import PydanticCustomError

from model.quoting import quoted

_FAR = 2**53  # beyond the end of any text
SPANS = {
    "type": "array",
    "items": {
        "type": "array",
        "items": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0},
            "minItems": 2,
            "maxItems": 2,
        },
    },
}


def spans_of(given: Any) -> list[list[list[int]]]:
    """A list of [start, end] for each document; that of the only one may stand by itself.

    Raises:
        PydanticCustomError: it is something else.
    """
    first = given[0] if isinstance(given, list) and given else None
    one = isinstance(first, list) and bool(first) and not isinstance(first[0], list)
    spans = [given] if one else given
    if isinstance(spans, list) and all(isinstance(document, list) for document in spans):
        wrong = next((span for document in spans for span in document if not _is_span(span)), None)
        if wrong is None:
            return spans
        seen = f"not {quoted(wrong)}"
    else:
        seen = f"not {quoted(given)}"
    sentence = "must have a list of [start, end] for each document, two whole numbers from 0 on, "
    raise PydanticCustomError(
        "spans_type", "{sentence}{seen}", {"sentence": sentence, "seen": seen}
    )


def _is_span(given: Any) -> bool:
    return isinstance(given, list) and len(given) == 2 and all(map(_is_position, given))


def _is_position(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= _FAR
