"""Wording: how a caller's own words stand in a sentence, cut short: enough to find them again; and
text as Unicode has it."""

import reprlib
from typing import Any

_CHARACTERS = 100

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _CHARACTERS


def quoted(value: Any) -> str:
    """A value as Python writes it, its middle left out where it is long."""
    return _REPR.repr(value)


def shortened(text: str) -> str:
    """A text's beginning."""
    return text if len(text) <= _CHARACTERS else text[:_CHARACTERS] + "..."


def well_formed(text: str) -> str:
    """The text with U+FFFD in the place of each lone surrogate, which no encoding can write.

    Half an emoji is one, which is what cutting a text at UTF-16 code units leaves (JavaScript's
    `slice` does); two halves side by side become the character that they are.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
