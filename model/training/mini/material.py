"""Material: texts as pieces, with teacher vectors, and the batches that the table learns from.

Batches are a function of their number, so that an interrupted run goes on with the same.

N texts, B texts of a batch, D hidden, E the teacher's width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from model.training.mini.corpora import Corpora, Item
from model.training.mini.table import Bags, TableBatch

# How often the texts of a source are drawn: manuals are many and all alike, plain text is rare.
_SOURCES: Mapping[str, float] = {
    "python-docs": 0.35,
    "gnome-user-docs": 0.4,
    "tldr": 0.5,
    "ntrex": 3.0,
    "tico-19": 3.0,
    "sib-200": 6.0,
    "cldr-annotations": 0.5,
    "word": 0.5,
    "gloss": 1.0,
    "example": 3.0,
    "labelled": 2.0,
    "phrase": 1.0,
}
# And those of a language: little is said in it, or questions pull its pieces away from what they
# mean elsewhere.
_LANGUAGES: Mapping[str, float] = {
    "ja": 2.0,
    "ar": 2.0,
    "de": 3.0,
    "ru": 3.0,
    "hi": 3.0,
    "es": 2.0,
    "pt": 2.0,
    "sw": 2.0,
}
# The share of batches whose questions are in a language; the others share the rest. All questions
# of a batch are in one: a passage in another is no answer, and telling languages apart is the
# opposite of what translations teach.
_ASKED: Mapping[str, float] = {"ja": 0.35, "ar": 0.2, "fr": 0.1}
# Pieces that are left out at random (word dropout).
_DROPPED = 0.2
_LONGEST = 320

Random = np.random.Generator


class Pieces:
    """Texts as piece ids with <s> and </s>, all in one array."""

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
        encoded = []
        for start in range(0, len(texts), 50_000):
            some = tokenizer.encode_batch_fast(list(texts[start : start + 50_000]))
            encoded += [np.array(each.ids, np.int32) for each in some]
        self._ids = np.concatenate([*encoded, np.empty(0, np.int32)])
        self._bounds = np.cumsum([0, *map(len, encoded)])

    def bags(self, chosen: npt.NDArray[np.int64], dropped: float, random: Random) -> Bags:
        """The texts of these indices without a share of their pieces; <s> and </s> stay."""
        kept, sizes = [], []
        for text in chosen:
            ids = self._ids[self._bounds[text] : self._bounds[text + 1]]
            stays = random.random(len(ids)) >= dropped
            stays[0] = stays[-1] = True
            ids = ids[stays][:_LONGEST]
            kept.append(ids)
            sizes.append(len(ids))
        starts = np.cumsum([0, *sizes[:-1]])
        joined = np.concatenate(kept).astype(np.int64)
        return Bags(torch.from_numpy(joined), torch.from_numpy(starts))


@dataclass(frozen=True, slots=True)
class Draw:
    """How many texts and questions a batch has, and what stands in front of each of its questions
    and passages."""

    texts: int
    questions: int
    instructions: tuple[str, str]


class Material:
    """Items and questions to draw batches from.

    `targets` (N, D - 2) and `teacher` (N, E) are of the different English texts, `english` has
    their places. Questions and passages begin with their instructions, as the retrieval adapters
    read them, so that the table learns to give those words little weight.
    """

    def __init__(
        self,
        corpora: Corpora,
        tokenizer: Tokenizer,
        english: Mapping[str, int],
        vectors: tuple[npt.NDArray[np.float32], npt.NDArray[np.float16]],
        draw: Draw,
    ) -> None:
        items = corpora.items
        self._targets, self._teacher = vectors
        self._texts = Pieces(tokenizer, [item.text for item in items])
        self._english = np.array([english[item.english] for item in items], np.int64)
        self._drawn = _cumulated(
            [_SOURCES.get(item.source, 1.0) * _LANGUAGES.get(item.lang, 1.0) for item in items]
        )
        asked = [
            (question, at)
            for at, passage in enumerate(corpora.passages)
            for question in passage.questions
        ]
        asking, answering = draw.instructions
        self._questions = Pieces(tokenizer, [asking + question for question, _ in asked])
        self._passages = Pieces(tokenizer, [answering + each.text for each in corpora.passages])
        self._answers = np.array([at for _, at in asked], np.int64)
        langs = [corpora.passages[at].lang for _, at in asked]
        self._asked = _by_language(langs)
        rest = (1 - sum(_ASKED.values())) / max(1, len(set(langs) - set(_ASKED)))
        self._langs = _cumulated([_ASKED.get(lang, rest) for lang in self._asked])
        self._draw = draw if asked else replace(draw, questions=0)

    def batch(self, seed: Sequence[int]) -> TableBatch:
        """A batch, which is a function of the seed alone."""
        random = np.random.default_rng(seed)
        texts = np.searchsorted(self._drawn, random.random(self._draw.texts))
        asked = self._questions_of_one_language(random)
        places, answers = self._english[texts], self._answers[asked]
        return TableBatch(
            self._texts.bags(texts, _DROPPED, random),
            torch.from_numpy(self._targets[places]),
            torch.from_numpy(self._teacher[places].astype(np.float32)),
            self._questions.bags(asked, _DROPPED, random),
            self._passages.bags(answers, _DROPPED, random),
            torch.from_numpy(answers),
        )

    def _questions_of_one_language(self, random: Random) -> npt.NDArray[np.int64]:
        if not self._draw.questions:
            return np.empty(0, np.int64)
        lang = [*self._asked][int(np.searchsorted(self._langs, random.random()))]
        return random.choice(self._asked[lang], self._draw.questions)


def english_texts(items: Sequence[Item]) -> dict[str, int]:
    """The different English texts, each with its place."""
    return {text: place for place, text in enumerate(dict.fromkeys(each.english for each in items))}


def _by_language(langs: Sequence[str]) -> dict[str, npt.NDArray[np.int64]]:
    """The places of each language."""
    places = np.array(langs)
    return {lang: np.flatnonzero(places == lang) for lang in dict.fromkeys(langs)}


def _cumulated(weights: Sequence[float]) -> npt.NDArray[np.float64]:
    """The upper ends of intervals of [0, 1) with these shares."""
    ends: npt.NDArray[np.float64] = np.cumsum(np.array([*weights], np.float64))
    return ends / ends[-1] if len(ends) else ends
