"""Cloze: sentences as questions for what surrounds them, in languages that have few questions.

The inverse cloze task (https://arxiv.org/abs/1906.00300): a sentence is taken out of its passage
and must find it again.
"""

from collections import defaultdict
from collections.abc import Mapping
from random import Random

from model.training.mini.corpora import Corpora, Passage

# Sources whose sentences follow each other as in a text.
_RUNNING = ("ntrex", "tico-19")
_AROUND = 3
_MOST: Mapping[str, int] = {"ar": 2000, "zh": 2000, "ja": 1000, "fr": 1000}
_MOST_OF_OTHERS = 250
_NO_SPACES = ("zh", "ja", "th")


def cloze_passages(corpora: Corpora, seed: int) -> list[Passage]:
    """Passages of up to six sentences, each with the one that stood in their middle."""
    texts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for item in corpora.items:
        if item.source in _RUNNING:
            texts[item.lang, item.source].append(item.text)
    random = Random(seed)
    passages = []
    for (lang, source), sentences in sorted(texts.items()):
        most = min(_MOST.get(lang, _MOST_OF_OTHERS), len(sentences))
        for at in sorted(random.sample(range(len(sentences)), most)):
            around = sentences[max(0, at - _AROUND) : at] + sentences[at + 1 : at + 1 + _AROUND]
            text = ("" if lang in _NO_SPACES else " ").join(around)
            passages.append(Passage(lang, source, text, (sentences[at],)))
    return passages
