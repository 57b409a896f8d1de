"""Chunking: a text and the characters at which its tokens begin -> chunks.

N tokens, C chunks; characters are Unicode code points. A token belongs to the chunk that has its
first character: every token of the text is in one chunk, or with an overlap in two.

Promises:
1. Chunks are in order, and each has a token. If the text has a token, every character that is no
   white space is in a chunk. White space at a chunk's ends is left out.
2. No chunk has more than `max_tokens`, counted in the whole text, except for a single character
   that has more tokens.
3. A sentence of at most `max_tokens` minus `overlap` is not cut. A longer one is cut at white space
   in the second half of what fits, or else between two tokens.

Sentences end by Unicode's rules (UAX #29, by unicode-segmentation), in every script and language;
a line end ends a sentence, and so may the dot of an abbreviation. Markdown is cut by
semantic-text-splitter at the strongest boundary that fits: headings, then blocks, then lines and
sentences. Both take time linear in the length of the text.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import semantic_text_splitter
import unicode_segmentation_rs

from model.unicode import Int64Array

By = Literal["sentences", "tokens", "markdown", "spans"]
BY_VALUES = get_args(By)
# Markdown chunks of fewer than 256 tokens are cut out of parts of 1,024 tokens: see _markdown_ends.
_MANY_TOKENS, _PART_TOKENS = 256, 1024
# The longest tokens of XLM-RoBERTa, but for a few.
_TOKEN_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Chunking:
    """How texts are cut, `by`:

    "sentences": as many whole sentences as fit into `max_tokens`. If `min_tokens` is not 0, a chunk
    ends with the first sentence that brings it to that many tokens, and a last chunk that has fewer
    joins the one before it if both fit; with 1 each sentence is a chunk. "markdown": the same with
    headings, blocks and lines. "tokens": `max_tokens` each. "spans": the caller's chunks. A chunk
    begins with up to `overlap` tokens of the one before it, from the beginning of a word.
    """

    by: By = "sentences"
    max_tokens: int = 256
    min_tokens: int = 0
    overlap: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Chunks:
    """Half-open ranges of a text: (C, 2) in its characters, and (C, 2) in its tokens."""

    characters: Int64Array
    tokens: Int64Array

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def counts(self) -> list[int]:
        """The number of tokens of each chunk."""
        counts: list[int] = np.diff(self.tokens)[:, 0].tolist()
        return counts

    @property
    def size(self) -> int:
        """The tokens of all chunks, counted in each that has them. As many characters as a token
        may have count as one: of white space there may be any number between two tokens."""
        tokens, characters = np.diff(self.tokens).sum(), np.diff(self.characters).sum()
        return int(max(tokens, characters // _TOKEN_CHARACTERS))


# Fields without effect, for each value of `by`.
_UNUSED = {"spans": ("max_tokens", "min_tokens", "overlap"), "tokens": ("min_tokens",)}


def unused(chunking: Chunking) -> str | None:
    """A field that has no effect and is not at its default, or None."""
    default = Chunking()
    names = _UNUSED.get(chunking.by, ())
    return next((name for name in names if getattr(chunking, name) != getattr(default, name)), None)


def chunks_of(text: str, starts: Int64Array, chunking: Chunking) -> Chunks:
    """The chunks of a text whose tokens begin at `starts` (N,), which never decrease."""
    if not len(starts):
        return Chunks(np.empty((0, 2), np.int64), np.empty((0, 2), np.int64))
    cutter = _Cutter(text, starts.tolist(), chunking)
    tokens = list(cutter.chunks())
    characters = [cutter.characters(start, stop) for start, stop in tokens]
    return Chunks(np.array(characters, np.int64), np.array(tokens, np.int64))


def chunks_at(spans: Int64Array, starts: Int64Array) -> Chunks:
    """The caller's chunks, given as spans (C, 2) of characters; a chunk may have no token."""
    return Chunks(spans, np.searchsorted(starts, spans).astype(np.int64))


class _Cutter:
    """Cuts one text. A piece is a sentence or a Markdown block. `_ends` are the tokens at which
    pieces end, and `_at` maps those to the characters of the cuts."""

    def __init__(self, text: str, starts: list[int], chunking: Chunking) -> None:
        self._text = text
        self._starts = starts
        self._chunking = chunking
        self._room = chunking.max_tokens - chunking.overlap
        pieces = {bisect_left(starts, cut): cut for cut in self._pieces()}
        self._at = {**pieces, 0: 0, len(starts): len(text)}
        self._ends = sorted(self._at)

    @cached_property
    def _cuttable(self) -> list[int]:
        """The tokens that begin at another character than the token before."""
        pairs = enumerate(zip([-1, *self._starts[:-1]], self._starts, strict=True))
        return [token for token, (before, start) in pairs if start > before]

    @cached_property
    def _words(self) -> list[int]:
        """The cuttable tokens that follow white space."""
        text, starts = self._text, self._starts
        return [at for at in self._cuttable if text[starts[at] - 1 : starts[at]].isspace()]

    def _pieces(self) -> Iterator[int]:
        """The characters at which pieces end, in order."""
        if self._chunking.by == "sentences":
            yield from _sentence_ends(self._text)
        elif self._chunking.by == "markdown":
            full = min(self._chunking.min_tokens or self._room, self._room)
            yield from _markdown_ends(self._text, self._starts, (full, self._room))

    def chunks(self) -> Iterator[tuple[int, int]]:
        """The tokens of each chunk."""
        begin, stop = 0, 0
        while stop < len(self._starts):
            begin = self._overlapping(begin, stop) if stop else 0
            room = self._room if stop else self._chunking.max_tokens
            stop = self._end(stop, room)
            yield begin, stop

    def _end(self, at: int, room: int) -> int:
        """The end of a chunk whose new tokens begin at `at`."""
        last = self._ends[bisect_right(self._ends, at + room) - 1]
        if last <= at:
            return self._inside(at, room)
        chunking = self._chunking
        if chunking.by == "markdown" or (chunking.min_tokens and chunking.by == "sentences"):
            least = 1 if chunking.by == "markdown" else chunking.min_tokens
            rest_fits = last == len(self._starts)
            last = min(last, self._ends[bisect_left(self._ends, min(at + least, last))])
            if rest_fits and len(self._starts) - last < chunking.min_tokens:
                return len(self._starts)
        return last

    def _inside(self, at: int, room: int) -> int:
        """Where a piece that is longer than `room` is cut."""
        for tokens, least in ((self._words, at + room // 2), (self._cuttable, at)):
            last = bisect_right(tokens, at + room) - 1
            if last >= 0 and tokens[last] > least:
                return tokens[last]
        further = bisect_right(self._cuttable, at)
        return self._cuttable[further] if further < len(self._cuttable) else len(self._starts)

    def _overlapping(self, before: int, at: int) -> int:
        """The beginning of a chunk whose new tokens begin at `at`; the last one began `before`."""
        if not self._chunking.overlap:
            return at
        least = max(at - self._chunking.overlap, before + 1)
        for tokens in (self._words, self._cuttable):
            first = bisect_left(tokens, least)
            if first < len(tokens) and tokens[first] < at:
                return tokens[first]
        return at

    def characters(self, start: int, stop: int) -> tuple[int, int]:
        """The characters of the chunk of tokens [start, stop), without white space at its ends."""
        begin, end = (self._at.get(at, -1) for at in (start, stop))
        begin = self._starts[start] if begin < 0 else begin
        end = self._starts[stop] if end < 0 else end
        part = self._text[begin:end]
        first, last = begin + len(part) - len(part.lstrip()), begin + len(part.rstrip())
        # White space to Python may be a token to the tokenizer.
        return min(first, self._starts[start]), max(last, self._starts[stop - 1] + 1)


def _sentence_ends(text: str) -> Iterator[int]:
    at = 0
    for sentence in unicode_segmentation_rs.unicode_sentences(text):
        # The library leaves out what has no letter or digit; it belongs to the sentence before.
        at = text.index(sentence, at)
        yield at
        at += len(sentence)


def _markdown_ends(text: str, starts: list[int], capacity: tuple[int, int]) -> Iterator[int]:
    """The ends of a text's blocks; a block has capacity[0] to capacity[1] tokens if possible."""
    at = 0

    def tokens(part: str) -> int:
        """The tokens of a part that the splitter tries; the parts' beginnings never decrease."""
        nonlocal at
        at = text.index(part, at)
        return bisect_left(starts, at + len(part)) - bisect_left(starts, at)

    def split(part: str, least: int, most: int) -> Iterator[str]:
        splitter: Any = semantic_text_splitter.MarkdownSplitter
        yield from splitter.from_callback(tokens, (least, most), trim=False).chunks(part)

    end = 0
    # Small chunks are cut out of larger parts: the splitter's time is quadratic in their number.
    wide = (max(_PART_TOKENS, capacity[1]),) * 2 if capacity[0] < _MANY_TOKENS else capacity
    for part in split(text, *wide):
        at = end
        for chunk in split(part, *capacity) if wide != capacity else (part,):
            end += len(chunk)
            yield end
