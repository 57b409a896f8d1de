"""Texts that `quintet bench` sends: of given lengths, each one new, so that no cache has it.

A long stream of random words is made once; a text is a piece of it, from a place where none has
begun before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import orjson

# 1.3 tokens a word on average.
_LIST = """
about accuracy ada Address adds ai alone already also an anchors answered answers Apache apart app
are attention Authorization auto away bad base batch batches be Bearer below berlin Besides
between bfloat bit body Both breaks burst BY changes character checkpoints classifier clinc code
collection Compare con connections constraints Content cores cosine CPU crafted crash curve
datasets days db default delay dense Descubre Develop did die different digests dimensions
distance distribution documents drains early embedder embedders embrace empfindliche encoder
English Environment especialmente everyone Example examples fails false far field fields File
fills first fitted fixed flash forward four from Get gets give given good guard Half half hands
hangs have held help hold honours hour HTTP HUB hub idle ignored index inhabitants input inputs
insert installs intents Its Japanese json KB kernels known Late layout learning left length lets
libraries License licensed lies like link listen litres loaded localhost log long longest makes
many map marked Matryoshka measure measured message metrics million mirrors mit mixed More morning
MTEB much multiplies name need neighbouring network never no normalised nowhere nuestra object off
old On ones only open origins overlapping pages parameters parse pass passage past people Pin pip
playground points Port preflight probe programs prometheus quarters quicker random reads reason
records redis refusing replicas request requests results return river rooms run Rust safetensors
said screen second self sensible sensitive sent sentence separation services Settings several
share short signals single skips slash slow soak some spare special specifically speziell stacked
standard starting starts still stops such systemd taken takes ten test Then there thing things
third three time tinted title Token tokenize tokens Tokens top train training truncate truncated
two Type und Unicode unless Until unzip url user UTF utils validation vera Vera way well whatever
when where While while white who With within Without worse writes written wrong yaml
yesterday vernacular quadrature Brückenpfeiler rhododendron kaleidoscope thermocouple Zuckerwatte
pterodactyl acrylamide ombudsman sauerkraut
"""
WORDS = _LIST.split()
# Texts until one comes again. The stride is odd, so that each of the places comes once.
_PLACES = 1 << 20
_STRIDE = 604_171
_FILLER = "a"  # one token
_SPECIAL_TOKENS = 2


@dataclass(frozen=True, slots=True)
class TextSizes:
    """The lengths that texts have in turn: in words, or in tokens with the two special ones where
    the tokens of each of WORDS are given."""

    lengths: Sequence[int]
    tokens_of_words: Sequence[int] | None = None


class TextStream:
    """Numbered texts; `seed` says which."""

    def __init__(self, sizes: TextSizes, seed: int) -> None:
        self._sizes = sizes
        tokens = sizes.tokens_of_words
        chosen = np.random.default_rng(seed).integers(0, len(WORDS), _PLACES + max(sizes.lengths))
        self._text = " ".join([WORDS[each] for each in chosen]) + " "
        self._begins = _begins(np.array([len(word) + 1 for word in WORDS])[chosen])
        self._sums = None if tokens is None else _begins(np.array(tokens)[chosen])

    def text(self, number: int) -> str:
        """The text of that number."""
        length = self._sizes.lengths[number % len(self._sizes.lengths)]
        first, filled = number * _STRIDE % _PLACES, 0
        last = first + length
        if self._sums is not None:
            wanted = self._sums[first] + max(length - _SPECIAL_TOKENS, 1)
            last = int(np.searchsorted(self._sums, wanted, "right")) - 1
            filled = int(wanted - self._sums[last])
        words = self._text[self._begins[first] : self._begins[last]].rstrip()
        return " ".join([*([words] if words else ()), *[_FILLER] * filled])


def _begins(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)])


@dataclass(frozen=True)
class FreshRequests:
    """Requests of `inputs` texts each, each with the next of `tasks`, to the host and path of a
    service. They are made when they are sent."""

    sizes: TextSizes
    inputs: int
    tasks: Sequence[str | None]
    head: str
    seed: int
    fields: dict[str, object] = field(default_factory=dict)

    @cached_property
    def _stream(self) -> TextStream:
        return TextStream(self.sizes, self.seed)

    def __getstate__(self) -> dict[str, object]:
        """Another process makes a stream of its own."""
        return {name: value for name, value in vars(self).items() if name != "_stream"}

    def wire(self, number: int) -> bytes:
        """The bytes of that request."""
        texts = [self._stream.text(number * self.inputs + each) for each in range(self.inputs)]
        task = self.tasks[number % len(self.tasks)]
        body = orjson.dumps({"input": texts, **self.fields, **({"task": task} if task else {})})
        return f"{self.head}Content-Length: {len(body)}\r\n\r\n".encode() + body
