"""The data and the loss that each adapter of the embedded model is trained with.

The teacher judges pairs, and finds passages that look like an answer and are none. N texts, D its
width.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor

from model.rows import Vectors
from model.training.adapter_setup import PASSAGE, QUERY
from model.training.data import LABELLED, SCORED, TRIPLES, Examples
from model.training.mini.asked_documents import TIMES, AskedDocument, asked_documents
from model.training.mini.corpora import ENGLISH, Corpora, Passage
from model.training.mini.healing import TeacherSpace
from model.training.mini.texts import Texts
from model.training.objective import LossConfig, SideTasks

# Sources of plain sentences, for pairs whose likeness the teacher judges.
_PLAIN = ("example", "ntrex", "tico-19", "sib-200", "labelled", "gloss", "ud-sentences")
_POOL = 24_000
# A sentence that is there in several languages comes so often.
_TRANSLATED = 5
# Which neighbour of a text its partner is: its translation, the nearest, near ones, or any text.
_TRANSLATION, _ANY = -1, None
_RANKS = (_TRANSLATION, 0, 0, 2, 8, 32, 128, _ANY)
# A negative is one of so many passages that the teacher finds nearest to the question. The nearest
# of all may well answer it, too.
_NEAREST = range(2, 16)
# Languages in which the teacher says how alike two sentences are.
_JUDGED = ("en", "de", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "zh")
_DEFINITIONS, _LABELLED_PER_SET = 6000, 12_000
_TEMPERATURE = 0.05
# Texts that are compared with all others at once.
_CHUNK = 1024
# The weight of staying near to what the teacher says.
_RETRIEVAL, _SCORES, _LABELS = 1.0, 1.0, 1.0

_Triple = tuple[str, str, str]
# One meaning: its wording in each language.
_Meaning = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Lesson:
    """Examples for the tasks that are `trained` together; `sides` says which of them embeds what.

    `max_tokens` is where longer texts are cut in the lesson. `documents`, if there are any, are
    learned from in turn with the examples.
    """

    trained: tuple[str, ...]
    sides: SideTasks
    examples: Examples
    loss: LossConfig
    batch_size: int
    max_tokens: int
    learning_rate: float
    documents: tuple[AskedDocument, ...] = ()


@dataclass(frozen=True, slots=True)
class Judge:
    """The teacher's opinion: texts with its vectors (N, D), and the space that these are in."""

    texts: Texts
    vectors: Vectors
    space: TeacherSpace

    def of(self, texts: Sequence[str]) -> Tensor:
        """The vectors of some of the texts (n, D)."""
        return torch.from_numpy(self.vectors[[self.texts.index[text] for text in texts]])

    def targets(self, texts: Sequence[str]) -> tuple[list[int], Tensor]:
        """See objective.Targets: of those of the texts that the teacher has read."""
        read = [index for index, text in enumerate(texts) if text in self.texts.index]
        return read, self.space.targets(self.of([texts[index] for index in read]))

    def nearest(self, texts: Sequence[str], among: Sequence[str], count: int) -> list[list[int]]:
        """For each text the indices of its nearest others, at most `count`, nearest first."""
        found: list[list[int]] = []
        others, places = self.of(among), {text: at for at, text in enumerate(among)}
        for start in range(0, len(texts), _CHUNK):
            some = texts[start : start + _CHUNK]
            cosines = self.of(some) @ others.T
            for row, text in enumerate(some):
                if text in places:
                    cosines[row, places[text]] = -torch.inf
            found += cosines.topk(min(count, len(among) - 1)).indices.tolist()
        return found


def lessons_of(corpora: Corpora, judge: Judge, seed: int, scale: int = 1) -> dict[str, Lesson]:
    """The lessons by name; one whose text the corpora do not have is left out. Batches of pairs are
    `scale` times as large; those of labels have all labels as it is."""
    asked = [*_asked(corpora, judge, Random(seed)), *_defined(corpora, Random(seed))]
    questions = Examples(TRIPLES, tuple(zip(*asked, strict=True)) or ((), (), ()))
    near = LossConfig(_TEMPERATURE, target_weight=_RETRIEVAL)
    labelled = _labelled(corpora, Random(seed))
    of_labels = LossConfig(_TEMPERATURE, target_weight=_LABELS)
    scores = LossConfig(_TEMPERATURE, regress_scores=True, target_weight=_SCORES)
    lessons = {
        "retrieval": Lesson(
            (QUERY, PASSAGE),
            SideTasks(QUERY, PASSAGE),
            questions,
            near,
            batch_size=32 * scale,
            max_tokens=192,
            learning_rate=1e-3,
            documents=tuple(asked_documents(corpora, judge.texts, Random(seed))),
        ),
        "text-matching": _alone("text-matching", _scored(corpora, judge, seed), scores, 64 * scale),
        "classification": _alone("classification", labelled, of_labels, 128),
        "separation": _alone("separation", labelled, of_labels, 128),
    }
    return {name: lesson for name, lesson in lessons.items() if len(lesson.examples)}


def _alone(task: str, examples: Examples, loss: LossConfig, batch_size: int) -> Lesson:
    sides = SideTasks(task, task)
    return Lesson((task,), sides, examples, loss, batch_size, max_tokens=64, learning_rate=2e-3)


def _asked(corpora: Corpora, judge: Judge, random: Random) -> Iterator[_Triple]:
    """Questions with the passages that answer them, and others of the same language."""
    by_lang: dict[str, list[Passage]] = defaultdict(list)
    for each in corpora.passages:
        if each.text in judge.texts.index:
            by_lang[each.lang].append(each)
    for lang, passages in by_lang.items():
        texts = [each.text for each in passages]
        asked = [(question, each.text) for each in passages for question in each.questions]
        nearest = judge.nearest([question for question, _ in asked], texts, _NEAREST.stop)
        for (question, answer), near in zip(asked, nearest, strict=True):
            others = [texts[at] for at in near[_NEAREST.start :] if texts[at] != answer]
            for _ in range(TIMES.get(lang, 1) if others else 0):
                yield question, answer, random.choice(others)


def _defined(corpora: Corpora, random: Random) -> Iterator[_Triple]:
    """Words with what they mean, and what another means."""
    glosses = sorted(dict(corpora.glosses).items())
    for word, gloss in random.sample(glosses, min(_DEFINITIONS, len(glosses))):
        _, other = random.choice(glosses)
        question = f"what is {word}?"
        if other != gloss and corpora.usable(question):
            yield question, gloss, other


def _scored(corpora: Corpora, judge: Judge, seed: int) -> Examples:
    """Pairs of sentences, also of two languages, with their likeness as the teacher sees it."""
    random = np.random.default_rng(seed)
    wordings: dict[str, dict[str, str]] = defaultdict(dict)
    for item in corpora.items:
        if item.source in _PLAIN and item.text in judge.texts.index:
            wordings[item.english][item.lang] = item.text
    every = list(wordings.values())
    drawn = [every[at] for at in random.permutation(len(every)).tolist()]
    pool = sorted(drawn, key=len, reverse=True)[:_POOL]  # those in most languages first
    heads = [each.get(ENGLISH, next(iter(each.values()))) for each in pool]
    nearest = judge.nearest(heads, heads, max(filter(None, _RANKS)) + 1)
    times = [_TRANSLATED if len(each) > 1 else 1 for each in pool]
    pairs: dict[tuple[str, str], tuple[_Meaning, _Meaning]] = {}
    for at in np.repeat(np.arange(len(pool)), times).tolist():
        near = nearest[at]
        rank = _RANKS[random.integers(len(_RANKS))]
        other = at
        if rank is _ANY:
            other = int(random.integers(len(pool)))
        elif rank != _TRANSLATION and near:
            other = near[min(rank, len(near) - 1)]
        both = pool[at], pool[other]
        texts = (list(each.values()) for each in both)
        first, second = (each[random.integers(len(each))] for each in texts)
        if first != second:
            pairs[first, second] = both
    columns = tuple(zip(*pairs, strict=True)) or ((), ())
    return Examples(SCORED, columns, tuple(_likeness(judge, pairs)))


def _likeness(
    judge: Judge, pairs: Mapping[tuple[str, str], tuple[_Meaning, _Meaning]]
) -> list[float]:
    """The teacher's spread cosine of each pair, the mean over the languages that both are in. It
    sees more in English than elsewhere, and still more in several languages than in one."""
    owners: list[int] = []
    wordings: list[tuple[str, str]] = []
    for at, (pair, (one, other)) in enumerate(pairs.items()):
        shared = [(one[lang], other[lang]) for lang in _JUDGED if lang in one and lang in other]
        wordings += shared or [pair]
        owners += [at] * len(shared or [pair])
    firsts, seconds = ([each[side] for each in wordings] for side in (0, 1))
    cosines = judge.space.spread((judge.of(firsts) * judge.of(seconds)).sum(dim=1))
    sums = np.bincount(owners, cosines.numpy(), len(pairs))
    means: list[float] = (sums / np.bincount(owners, minlength=len(pairs))).tolist()
    return means


def _labelled(corpora: Corpora, random: Random) -> Examples:
    """Texts of every set with their labels."""
    texts: list[str] = []
    labels: list[str] = []
    for name, pairs in sorted(corpora.labelled.items()):
        for text, label in random.sample(pairs, min(_LABELLED_PER_SET, len(pairs))):
            texts.append(text)
            labels.append(f"{name}: {label}")
    return Examples(LABELLED, (tuple(texts),), tuple(labels))
