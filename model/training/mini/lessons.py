"""The data and the loss that each adapter of the embedded model is trained with."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from model.training.adapter_setup import PASSAGE, QUERY
from model.training.data import LABELLED, PAIRS, SCORED, Examples
from model.training.mini.corpora import Corpora, Item
from model.training.objective import LossConfig, SideTasks

# Sources of plain sentences, for pairs whose likeness the teacher judges.
_PLAIN = ("example", "ntrex", "tico-19", "sib-200", "labelled", "phrase", "gloss")
_SCORED, _POOL = 16_000, 24_000
# Which neighbour of a text its partner is: the nearest, some near ones, or any text at all.
_RANKS = (0, 0, 2, 8, 32, None)
_TRANSLATED = 0.5
# Languages of few questions come more often.
_TIMES: Mapping[str, int] = {"ar": 4, "fr": 2}
_TEMPERATURE = 0.05
# Questions are in few languages; labels are of few kinds, and of few texts.
_NEAR, _NEARER = 4.0, 16.0
_DEFINITIONS, _LABELLED_PER_SET = 12_000, 12_000


@dataclass(frozen=True, slots=True)
class Lesson:
    """Examples for the tasks that are `trained` together; `sides` says which of them embeds what.

    `max_tokens` is where longer texts are cut in the lesson.
    """

    trained: tuple[str, ...]
    sides: SideTasks
    examples: Examples
    loss: LossConfig
    batch_size: int
    max_tokens: int


def lessons_of(
    corpora: Corpora, english: Mapping[str, int], teacher: npt.NDArray[np.float16], seed: int
) -> dict[str, Lesson]:
    """The lessons by name; one whose text the corpora do not have is left out."""
    scored = _scored(corpora.items, english, teacher, seed)
    asked = _asked(corpora, Random(seed))
    labelled = _labelled(corpora, Random(seed))
    near, nearer = (LossConfig(_TEMPERATURE, base_weight=weight) for weight in (_NEAR, _NEARER))
    lessons = {
        "retrieval": Lesson((QUERY, PASSAGE), SideTasks(QUERY, PASSAGE), asked, near, 40, 96),
        "text-matching": _alone(
            "text-matching", scored, LossConfig(_TEMPERATURE, regress_scores=True)
        ),
        "classification": _alone("classification", labelled, nearer),
        "separation": _alone("separation", labelled, nearer),
    }
    return {name: lesson for name, lesson in lessons.items() if len(lesson.examples)}


def _alone(task: str, examples: Examples, loss: LossConfig) -> Lesson:
    return Lesson((task,), SideTasks(task, task), examples, loss, 64, 48)


def _asked(corpora: Corpora, random: Random) -> Examples:
    """Questions with the passages that answer them, and words with what they mean."""
    pairs = [
        (question, passage.text)
        for passage in corpora.passages
        for question in passage.questions
        for _ in range(_TIMES.get(passage.lang, 1))
    ]
    glosses = list(dict(corpora.glosses).items())
    for word, gloss in random.sample(glosses, min(_DEFINITIONS, len(glosses))):
        pairs.append((f"what is {word}?", gloss))
    return Examples(PAIRS, (tuple(first for first, _ in pairs), tuple(last for _, last in pairs)))


def _scored(
    items: Sequence[Item],
    english: Mapping[str, int],
    teacher: npt.NDArray[np.float16],
    seed: int,
) -> Examples:
    """Pairs of sentences with the teacher's cosine of their English texts."""
    random = np.random.default_rng(seed)
    wordings: dict[str, list[str]] = defaultdict(list)
    for item in items:
        if item.source in _PLAIN:
            wordings[item.english].append(item.text)
    texts = list(wordings)
    pool = [texts[at] for at in random.permutation(len(texts))[:_POOL]]
    vectors = teacher[[english[text] for text in pool]].astype(np.float32)
    pairs, scores = [], []
    for at in range(min(_SCORED, len(pool))):
        cosines = vectors @ vectors[at]
        cosines[at] = -1
        rank = _RANKS[random.integers(len(_RANKS))]
        other = random.integers(len(pool)) if rank is None else np.argsort(-cosines)[rank]
        if other != at:
            pairs.append([_wording(wordings[pool[text]], random) for text in (at, other)])
            scores.append(float(cosines[other]))
    return Examples(SCORED, tuple(zip(*pairs, strict=True)) or ((), ()), tuple(scores))


def _wording(wordings: list[str], random: np.random.Generator) -> str:
    """The text itself, which stands first, or a translation."""
    if random.random() < _TRANSLATED:
        return wordings[0]
    return wordings[random.integers(len(wordings))]


def _labelled(corpora: Corpora, random: Random) -> Examples:
    """Texts of every set with their labels."""
    texts: list[str] = []
    labels: list[str] = []
    for name, pairs in sorted(corpora.labelled.items()):
        for text, label in random.sample(pairs, min(_LABELLED_PER_SET, len(pairs))):
            texts.append(text)
            labels.append(f"{name}: {label}")
    return Examples(LABELLED, (tuple(texts),), tuple(labels))
