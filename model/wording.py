"""Wording: how a caller's own words stand in a sentence, cut short: enough to find them again; and
text that is not clean Unicode."""

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
    """The text with U+FFFD in place of each lone surrogate, as JavaScript's toWellFormed has it.

    Half of a character outside the basic plane comes from software that counts in UTF-16 and cuts
    there; no encoder of UTF-8 takes it. Two halves that follow each other are their character.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
