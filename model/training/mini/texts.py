"""Texts: what the teacher reads and the student is healed with, in any language, and how texts
follow each other in documents.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeVar

import numpy as np

from model.training.mini.corpora import Corpora, Item, Passage

PASSAGE, SEGMENT, QUESTION = "passage", "segment", "question"
# At most so many texts of a source and language are read, by default and of some sources. Manuals,
# glosses and names of emoji are many and all alike.
_MOST = 12_000
_FEWER: Mapping[str, int] = {
    PASSAGE: 4000,
    "ntrex": 1400,
    "tico-19": 1600,
    "ud-sentences": 2000,
    "python-docs": 1000,
    "gnome-user-docs": 400,
    "tldr": 500,
    "cldr-annotations": 500,
    "word": 6000,
    "example": 25_000,
    "labelled": 25_000,
}
# Sources whose neighbouring texts belong together, how many of them make a passage, and how many
# passages a document.
_RUNNING, _TEXTS, _PASSAGES = ("ntrex", "tico-19", "ud-sentences"), 4, 4
_SENTENCE_END = re.compile(r"(?<=[.!?؟।…])\s+|(?<=[。！？；])|\n+")  # noqa: RUF001
# A passage's segments have at least this many bytes of UTF-8.
_SHORTEST = 90

_Found = TypeVar("_Found", Item, Passage)
# A document's passages: each one's own index, None where it is no text, and those of its segments.
Document = list[tuple[int | None, list[int]]]


@dataclass(slots=True)
class Texts:
    """Different texts by index, each with its source and language, and documents of them."""

    index: dict[str, int] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    langs: list[str] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)

    def add(self, source: str, lang: str, text: str) -> int:
        """The index of a text, which is added if it is new."""
        if text not in self.index:
            self.index[text] = len(self.index)
            self.sources.append(source)
            self.langs.append(lang)
        return self.index[text]


def texts_of(corpora: Corpora, seed: int) -> Texts:
    """The texts of corpora, of each source and language up to a number."""
    texts, random = Texts(), np.random.default_rng(seed)
    items: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in corpora.items:
        items[item.source, item.lang].append(item)
    for (source, lang), found in items.items():
        kept = _kept(found, source, random)
        indices = [texts.add(source, lang, each.text) for each in kept]
        if source in _RUNNING:
            texts.documents += _running(indices)
    passages: dict[str, list[Passage]] = defaultdict(list)
    for passage in corpora.passages:
        passages[passage.lang].append(passage)
    for of_lang in passages.values():
        kept_passages = _kept(of_lang, PASSAGE, random)
        for _, group in groupby(kept_passages, key=lambda each: each.title):
            document = [_passage(texts, each, corpora.usable) for each in group]
            texts.documents.append(document)
    return texts


def _kept(found: list[_Found], source: str, random: np.random.Generator) -> list[_Found]:
    """As many as are read of a source: a run, where neighbours belong together, else any."""
    most = _FEWER.get(source, _MOST)
    if len(found) <= most:
        return found
    if source in (*_RUNNING, PASSAGE):
        start = int(random.integers(len(found) - most + 1))
        return found[start : start + most]
    return [found[at] for at in sorted(random.permutation(len(found))[:most].tolist())]


def segments_of(passage: str) -> list[str]:
    """A passage's sentences, short ones joined to the next."""
    segments: list[str] = []
    open_segment = ""
    for sentence in filter(None, map(str.strip, _SENTENCE_END.split(passage))):
        open_segment = f"{open_segment} {sentence}".strip()
        if len(open_segment.encode()) >= _SHORTEST:
            segments.append(open_segment)
            open_segment = ""
    return [*segments, open_segment] if open_segment else segments


def _running(indices: Sequence[int]) -> list[Document]:
    passages = [list(indices[at : at + _TEXTS]) for at in range(0, len(indices), _TEXTS)]
    return [
        [(None, each) for each in passages[at : at + _PASSAGES]]
        for at in range(0, len(passages), _PASSAGES)
    ]


def _passage(
    texts: Texts, passage: Passage, usable: Callable[[str], bool]
) -> tuple[int | None, list[int]]:
    whole = texts.add(PASSAGE, passage.lang, passage.text)
    for question in passage.questions:
        texts.add(QUESTION, passage.lang, question)
    segments = filter(usable, segments_of(passage.text))
    return whole, [texts.add(SEGMENT, passage.lang, each) for each in segments]
