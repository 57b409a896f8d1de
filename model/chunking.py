"""Chunking: a text and where its tokens begin -> chunks.

N tokens, C chunks; characters are Unicode code points. A token is in the chunk that has its first
character, so that every token of the text is in one chunk, or with an overlap in two.

Promises:
1. Chunks are in order, each has a token, and every character that is no white space is in one,
   where the text has a token at all. White space at a chunk's ends is left out.
2. No chunk has more than `max_tokens`, counted in the whole text, but one of a single character
   that is more tokens by itself.
3. A sentence of at most `max_tokens`, less the overlap, is not cut. A longer one is cut where there
   is white space in the second half of what fits, or else between two tokens.

Sentences end where Unicode's rules say so (UAX #29, by unicode-segmentation), in every script and
without knowing the language; an end of line ends a sentence, and so may a dot behind an
abbreviation. Markdown is cut by semantic-text-splitter at the strongest boundary that fits:
headings, then blocks, then lines and sentences. Both take time in
proportion to the length of a text.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import semantic_text_splitter
import unicode_segmentation_rs

By = Literal["sentences", "tokens", "markdown", "spans"]
BY_VALUES = get_args(By)
# Chunks of Markdown of fewer tokens are cut out of larger parts.
_MANY_TOKENS, _PART_TOKENS = 256, 1024

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chunking:
    """How texts are cut.

    `by` "sentences": as many whole sentences as fit into `max_tokens`; with `min_tokens` from 1 on
    a chunk ends with the first sentence that brings it to so many, and a last chunk that has fewer
    joins the one before it where both fit: 1 is a chunk a sentence. "markdown": the same with
    headings, blocks and lines. "tokens": windows of `max_tokens`. A chunk begins with up to
    `overlap` tokens of the one before it, from the beginning of a word on. "spans": as the caller
    says.
    """

    by: By = "sentences"
    max_tokens: int = 256
    min_tokens: int = 0
    overlap: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Chunks:
    """`spans` (C, 2) in characters of the text and `tokens` (C, 2) in its tokens, half open."""

    spans: Ints
    tokens: Ints

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def counts(self) -> list[int]:
        """The tokens of each."""
        counted: list[int] = np.diff(self.tokens)[:, 0].tolist()
        return counted


# Fields that do not count where texts are cut so.
_UNUSED = {"spans": ("max_tokens", "min_tokens", "overlap"), "tokens": ("min_tokens",)}


def unused(how: Chunking) -> str | None:
    """A field that would not count, and does not say what is so anyway."""
    default = Chunking()
    names = _UNUSED.get(how.by, ())
    return next((name for name in names if getattr(how, name) != getattr(default, name)), None)


def chunks_of(text: str, starts: Ints, how: Chunking) -> Chunks:
    """The chunks of a text whose tokens begin at these characters (N,), which never go back."""
    if not len(starts):
        return Chunks(np.empty((0, 2), np.int64), np.empty((0, 2), np.int64))
    cutter = _Cutter(text, starts.tolist(), how)
    tokens = list(cutter.chunks())
    spans = [cutter.characters(start, stop) for start, stop in tokens]
    return Chunks(np.array(spans, np.int64), np.array(tokens, np.int64))


def chunks_at(spans: Ints, starts: Ints) -> Chunks:
    """The chunks that a caller's spans (C, 2) of characters are; one may have no token."""
    return Chunks(spans, np.searchsorted(starts, spans).astype(np.int64))


class _Cutter:
    """One text. `_ends` are the tokens at which a piece (a sentence, a block) ends, and `_at` has
    the characters at which they are cut."""

    def __init__(self, text: str, starts: list[int], how: Chunking) -> None:
        self._text = text
        self._starts = starts
        self._how = how
        self._room = how.max_tokens - how.overlap
        pieces = {bisect_left(starts, cut): cut for cut in self._pieces()}
        self._at = {**pieces, 0: 0, len(starts): len(text)}
        self._ends = sorted(self._at)

    @cached_property
    def _cuttable(self) -> list[int]:
        """The tokens that begin at a character of their own."""
        pairs = enumerate(zip([-1, *self._starts[:-1]], self._starts, strict=True))
        return [token for token, (last, own) in pairs if own > last]

    @cached_property
    def _words(self) -> list[int]:
        """Those of them that stand behind white space."""
        text, starts = self._text, self._starts
        return [at for at in self._cuttable if text[starts[at] - 1 : starts[at]].isspace()]

    def _pieces(self) -> Iterator[int]:
        """The characters at which pieces end, in order."""
        if self._how.by == "sentences":
            yield from _sentence_ends(self._text)
        elif self._how.by == "markdown":
            full = min(self._how.min_tokens or self._room, self._room)
            yield from _markdown_ends(self._text, self._starts, (full, self._room))

    def chunks(self) -> Iterator[tuple[int, int]]:
        """The tokens of each chunk."""
        begin, stop = 0, 0
        while stop < len(self._starts):
            begin = self._overlapping(begin, stop) if stop else 0
            room = self._room if stop else self._how.max_tokens
            stop = self._end(stop, room)
            yield begin, stop

    def _end(self, at: int, room: int) -> int:
        """The end of a chunk whose new tokens begin at `at`."""
        last = self._ends[bisect_right(self._ends, at + room) - 1]
        if last <= at:
            return self._inside(at, room)
        how = self._how
        if how.by == "markdown" or (how.min_tokens and how.by == "sentences"):
            least = 1 if how.by == "markdown" else how.min_tokens
            rest_fits = last == len(self._starts)
            last = min(last, self._ends[bisect_left(self._ends, min(at + least, last))])
            if rest_fits and len(self._starts) - last < how.min_tokens:
                return len(self._starts)
        return last

    def _inside(self, at: int, room: int) -> int:
        """Where a piece that has no end in this room is cut."""
        for places, least in ((self._words, at + room // 2), (self._cuttable, at)):
            last = bisect_right(places, at + room) - 1
            if last >= 0 and places[last] > least:
                return places[last]
        further = bisect_right(self._cuttable, at)
        return self._cuttable[further] if further < len(self._cuttable) else len(self._starts)

    def _overlapping(self, before: int, at: int) -> int:
        """The beginning of a chunk whose new tokens begin at `at`; the last one began `before`."""
        if not self._how.overlap:
            return at
        least = max(at - self._how.overlap, before + 1)
        for places in (self._words, self._cuttable):
            first = bisect_left(places, least)
            if first < len(places) and places[first] < at:
                return places[first]
        return at

    def characters(self, start: int, stop: int) -> tuple[int, int]:
        """The characters of a chunk of tokens, without white space at its ends."""
        begin, end = (self._at.get(at, -1) for at in (start, stop))
        begin = self._starts[start] if begin < 0 else begin
        end = self._starts[stop] if end < 0 else end
        part = self._text[begin:end]
        first, last = begin + len(part) - len(part.lstrip()), begin + len(part.rstrip())
        # What is white space to Python may be none to a tokenizer.
        return min(first, self._starts[start]), max(last, self._starts[stop - 1] + 1)


def _sentence_ends(text: str) -> Iterator[int]:
    at = 0
    for sentence in unicode_segmentation_rs.unicode_sentences(text):
        # What has no letter or number is left out; it belongs to the sentence before it.
        at = text.index(sentence, at)
        yield at
        at += len(sentence)


def _markdown_ends(text: str, starts: list[int], capacity: tuple[int, int]) -> Iterator[int]:
    """The ends of the blocks of a text that make up `capacity`, the least and the most tokens."""
    at = 0

    def tokens(part: str) -> int:
        """The tokens of a part that the splitter tries; the parts' beginnings never go back."""
        nonlocal at
        at = text.index(part, at)
        return bisect_left(starts, at + len(part)) - bisect_left(starts, at)

    def split(part: str, least: int, most: int) -> Iterator[str]:
        splitter: Any = semantic_text_splitter.MarkdownSplitter
        yield from splitter.from_callback(tokens, (least, most), trim=False).chunks(part)

    end = 0
    # The splitter's time grows with the square of the number of chunks.
    wide = (max(_PART_TOKENS, capacity[1]),) * 2 if capacity[0] < _MANY_TOKENS else capacity
    for part in split(text, *wide):
        at = end
        for chunk in split(part, *capacity) if wide != capacity else (part,):
            end += len(chunk)
            yield end
