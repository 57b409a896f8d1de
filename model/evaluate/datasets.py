"""The datasets that are measured, one for each file and language, and how records are sampled.

The measured split is dev, or test where there is no dev (`--split test` turns that round), or all
records where a file has no splits. Records of the train split are never measured: probes are
fitted on them, and they are the neighbours of measured texts.
"""

import zlib
from dataclasses import dataclass

import numpy as np

LANGUAGES = ("en", "de", "fr", "es", "zh", "ja", "ru", "ar", "hi", "sw", "ko", "pt")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which split is measured, at most how many records of a file and language (None: all), which
    languages of parallel texts (none: those of LANGUAGES, or all where a file has none of them, or
    a record for each), and the seed of what is drawn at random."""

    split: str = "dev"
    limit: int | None = None
    languages: tuple[str, ...] = ()
    seed: int = 0

    def sample(self, name: str, count: int, most: int | None) -> list[int]:
        """Indices of at most `most` of `count` records, ascending, drawn by the seed and `name`."""
        if most is None or count <= most:
            return list(range(count))
        return sorted(self.generator(name).choice(count, most, replace=False).tolist())

    def generator(self, name: str) -> np.random.Generator:
        """Random numbers that depend on the seed and the name of a dataset alone."""
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
    """The passage that answers `questions[i]` is `passages[answers[i]]`; `titles` has the title of
    each passage, "" where it has none."""

    file: str
    language: str
    questions: tuple[str, ...]
    answers: tuple[int, ...]
    passages: tuple[str, ...]
    titles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """Labelled texts to measure, and labelled texts to fit a probe on."""

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


Dataset = Pairs | Questions | Labels | Parallel
