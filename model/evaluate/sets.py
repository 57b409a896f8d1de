"""Sets: what is measured, one set for each file and language; and which records are taken for it.

The measured split is dev, or test where there is no dev (`--split test` turns that round), or all
records where a file has no splits. Records of the train split only fit probes and stand as
neighbours. Bounding draws at random, always the same by the seed and the set's name.
"""

import zlib
from dataclasses import dataclass

import numpy as np

LANGUAGES = ("en", "de", "fr", "es", "zh", "ja", "ru", "ar", "hi", "sw", "ko", "pt")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which split, how many records of a set (None: as many as the file has), which languages."""

    split: str = "dev"
    limit: int | None = None
    languages: tuple[str, ...] = LANGUAGES
    seed: int = 0

    def drawn(self, name: str, count: int, most: int | None) -> list[int]:
        """Indices of `count` records, at most `most` of them, in order."""
        if most is None or count <= most:
            return list(range(count))
        return sorted(self.generator(name).choice(count, most, replace=False).tolist())

    def generator(self, name: str) -> np.random.Generator:
        """Random numbers for a set, whatever else is drawn."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])


@dataclass(frozen=True, slots=True)
class Pairs:
    """Texts a and b and how similar people found them."""

    file: str
    language: str
    a: tuple[str, ...]
    b: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Questions:
    """Each question's passage is `passages[answers[i]]`. Titles are "" where there is none."""

    file: str
    language: str
    questions: tuple[str, ...]
    answers: tuple[int, ...]
    passages: tuple[str, ...]
    titles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """Texts with labels; those of `fit_texts` only fit a probe and stand as neighbours."""

    file: str
    language: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    fit_texts: tuple[str, ...]
    fit_labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parallel:
    """The same texts in two languages."""

    file: str
    language: str
    a: tuple[str, ...]
    b: tuple[str, ...]


Set = Pairs | Questions | Labels | Parallel
