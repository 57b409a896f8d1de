"""Unicode: lone surrogates replaced, and text positions in code points, UTF-16 units or bytes.

Python counts code points; JavaScript, Java and C# count UTF-16 code units; Go and Rust count bytes
of UTF-8.
"""

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Unit = Literal["codepoints", "utf16", "bytes"]
UNITS = get_args(Unit)

Int64Array = npt.NDArray[np.int64]


def well_formed(text: str) -> str:
    """The text with U+FFFD in place of each lone surrogate, as JavaScript's toWellFormed does.

    Lone surrogates come from software that cuts text between two UTF-16 units; they cannot be
    encoded in UTF-8. Two surrogates that form a pair become their character.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class SplitCharacterError(ValueError):
    """A position inside of a character or outside of the text; `index` is its array index."""

    def __init__(self, sentence: str, index: int) -> None:
        super().__init__(sentence)
        self.index = index


class Positions:
    """Conversion between code points and one unit, for one text without lone surrogates."""

    def __init__(self, text: str, unit: Unit) -> None:
        self._table = _table(text, unit)
        self._unit = unit
        self.end = int(self._table[-1])

    def of(self, codepoints: Int64Array) -> Int64Array:
        """Positions in code points, of any shape -> in this unit."""
        return self._table[codepoints]

    def codepoints(self, positions: Int64Array) -> Int64Array:
        """Positions in this unit, of any shape -> in code points.

        Raises:
            SplitCharacterError: one is outside of the text or inside of a character.
        """
        found = np.minimum(np.searchsorted(self._table, positions), len(self._table) - 1)
        outside = (positions < 0) | (positions > self.end)
        if len(bad := np.flatnonzero(outside | (self._table[found] != positions))):
            index = int(bad[0])
            place = "is outside of" if outside.flat[index] else "is inside of a character of"
            size = f"a text of {self.end} {_WORDS[self._unit]}"
            raise SplitCharacterError(f"{positions.flat[index]} {place} {size}", index)
        return found.astype(np.int64)


_WORDS = {"codepoints": "code points", "utf16": "units of UTF-16", "bytes": "bytes of UTF-8"}


def _table(text: str, unit: Unit) -> Int64Array:
    """The position in `unit` of each character and of the end of the text: (characters + 1,)."""
    if unit == "codepoints" or text.isascii():
        return np.arange(len(text) + 1)
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    wider = (0xFFFF,) if unit == "utf16" else (0x7F, 0x7FF, 0xFFFF)
    widths = 1 + sum((codes > bound).astype(np.int64) for bound in wider)
    return np.concatenate([[0], np.cumsum(widths)])
