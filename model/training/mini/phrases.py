"""Phrases: made-up English sentences of everyday words, for the teacher to read.

The corpora are rich in manuals and definitions and poor in people who do things with things. The
teacher's vector of "a tired dog is crossing the street." says what those words mean together,
whether or not anybody ever wrote it.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from model.training.mini.corpora import ENGLISH, Corpora

_WORD = re.compile(r"[a-z]+")
_EVERYDAY = re.compile(r"[a-z]{3,11}")
# A word that the corpora's sentences have more seldom is no everyday word.
_LEAST_OFTEN = 4
# Frequent words come more often, but less than they do in text.
_FLATTENING = 0.4
_SENTENCES = ("ntrex", "tico-19", "sib-200", "example", "gloss", "labelled", "cldr-annotations")

_WHO = ("noun.person", "noun.person", "noun.animal", "noun.group")
_WHAT = (
    *("noun.artifact", "noun.artifact", "noun.artifact", "noun.food", "noun.object"),
    *("noun.plant", "noun.animal", "noun.body", "noun.substance", "noun.communication"),
)
_WHERE = ("noun.location", "noun.artifact", "noun.object")
_WHY = ("noun.event", "noun.state", "noun.feeling", "noun.phenomenon", "noun.possession")
_HOW = ("adj.all",)
_DOES = (
    *("verb.motion", "verb.contact", "verb.consumption", "verb.creation", "verb.perception"),
    *("verb.body", "verb.communication", "verb.competition", "verb.social", "verb.change"),
    *("verb.possession", "verb.cognition", "verb.emotion"),
)


def make_phrases(corpora: Corpora, count: int, seed: int) -> list[str]:
    """At most `count` different sentences; fewer where the corpora have few words."""
    author = _Author(corpora, Random(seed))
    return list(dict.fromkeys(author.sentence() for _ in range(count))) if author.able else []


class _Author:
    """Fills patterns with words of the right topics."""

    def __init__(self, corpora: Corpora, random: Random) -> None:
        often: Counter[str] = Counter()
        for item in corpora.items:
            if item.lang == ENGLISH and item.source in _SENTENCES:
                often.update(_WORD.findall(item.text.lower()))
        self._random = random
        self._words = {
            topic: [word for word in dict.fromkeys(words) if _everyday(word, often)]
            for topic, words in corpora.words.items()
        }
        self._often = often
        self._weights = {
            topic: [often[word] ** _FLATTENING for word in words]
            for topic, words in self._words.items()
        }
        self._patterns: list[Callable[[], str]] = [
            lambda: f"{self._a(_WHO)} is {self._doing()} {self._a(_WHAT)}.",
            lambda: (
                f"{self._a(_HOW, _WHO)} is {self._doing()} {self._at()} the {self._one(_WHERE)}."
            ),
            lambda: (
                f"{self._many()} {_plural(self._one(_WHO))} are {self._doing()} {self._at()} "
                f"{self._a(_WHAT)}."
            ),
            lambda: (
                f"{self._a(_WHO)} and {self._a(_WHO)} are {self._doing()} {self._at()} "
                f"the {self._one(_WHERE)}"
            ),
            lambda: f"{self._a(_HOW, _WHAT)} {self._at()} {self._a(_HOW, _WHERE)}",
            lambda: (
                f"a {self._human()} {self._doing()} {self._a(_WHAT)} {self._at()} "
                f"the {self._one(_WHERE)}."
            ),
            lambda: (
                f"{self._one(('noun.group',))} {self._one(('verb.communication',))} "
                f"{self._one(_WHY)} {self._as()} {self._one(('noun.act',))}"
            ),
            lambda: (
                f"the {self._one(_WHO)} of the {self._one(('noun.group',))} "
                f"{self._one(_DOES)} the {self._one(('noun.act',))} {self._as()} "
                f"the {self._one(_WHY)}."
            ),
            lambda: (
                f"{self._asking()} {self._one(_DOES)} my {self._one(_WHAT)} {self._at()} "
                f"the {self._one(('noun.cognition', 'noun.time', 'noun.person'))}"
            ),
            lambda: (
                f"the {self._one(('noun.attribute', 'noun.state', 'noun.act'))} of "
                f"{self._a(_HOW, _WHAT)} is {self._one(_HOW)}"
            ),
        ]

    @property
    def able(self) -> bool:
        """Whether there are words for every place of every pattern."""
        topics = {*_WHO, *_WHAT, *_WHERE, *_WHY, *_HOW, *_DOES, "noun.act", "noun.attribute"}
        topics |= {"noun.cognition", "noun.time"}
        return all(self._words.get(topic) for topic in topics)

    def sentence(self) -> str:
        return self._random.choice(self._patterns)()

    def _one(self, topics: Sequence[str]) -> str:
        topic = self._random.choice(topics)
        return self._random.choices(self._words[topic], self._weights[topic])[0]

    def _a(self, *places: Sequence[str]) -> str:
        words = " ".join(map(self._one, places))
        return ("an " if words[0] in "aeiou" else "a ") + words

    def _doing(self) -> str:
        return _ing(self._one(_DOES))

    def _at(self) -> str:
        return self._random.choice(("in", "on", "near", "with", "at", "under", "beside", "over"))

    def _as(self) -> str:
        return self._random.choice(("after", "before", "because of", "despite", "amid"))

    def _many(self) -> str:
        return self._random.choice(("two", "three", "several", "some", "many", "the"))

    def _human(self) -> str:
        return self._random.choice(("man", "woman", "boy", "girl", "child", "person"))

    def _asking(self) -> str:
        return self._random.choice(("how do i", "you should", "can i", "i want to", "do not"))


def _everyday(word: str, often: Counter[str]) -> bool:
    return _EVERYDAY.fullmatch(word) is not None and often[word] >= _LEAST_OFTEN


def _ing(verb: str) -> str:
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    if len(verb) <= 4 and re.search("[^aeiou][aeiou][bdgmnprt]$", verb):
        return verb + verb[-1] + "ing"
    return verb + "ing"


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if re.search("[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + "s"
