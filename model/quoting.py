"""Quoting: a caller's value inside an error message, cut to 100 characters."""

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
