"""Material: texts as pieces with the teacher's vectors, and the batches that heal the student.

Batches are a function of the seed alone, so that an interrupted run goes on with the same. A
fraction of the texts is held out: they validate, and stand in no other batch.

N texts, D hidden, S spans of a row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from model.rows import Row, TokenIds, Vectors, normalised
from model.training.batches import batches_by_length
from model.training.mini.healing import HealingBatch
from model.training.mini.texts import PASSAGE, Document, Texts
from model.training.mini.vocabulary import encode

# How often a text of a source comes in one pass, where not once.
_OFTEN: Mapping[str, float] = {
    "ntrex": 1.5,
    "tico-19": 1.5,
    "sib-200": 1.5,
    "example": 2.0,
    "ud-sentences": 3.0,
    "cldr-annotations": 0.5,
    "word": 0.5,
    "segment": 0.6,
}
# Texts that are sorted by length together, so that little is padded.
_SORTED = 8192
_HELD_OUT = 2000
# Of a batch.
TOKENS = 4096
_BOS, _EOS = np.array([0], np.int32), np.array([2], np.int32)

Indices = npt.NDArray[np.int64]
# Whether the rows are documents, and the indices of the texts or documents.
_Planned = tuple[bool, list[int]]


@dataclass(frozen=True, slots=True)
class Draw:
    """How batches are made.

    tokens: of one batch, padding included.
    longest: where a text is cut; the teacher reads no more.
    longest_document: where a row of the segments of a document is cut.
    document_share: of the batches that have such rows.
    of_passage, of_document: the weights of the passage's and the document's vector beside a
        segment's own in its target; that is what late chunking is to bring into a chunk.
    instructions: by source; its texts are read without and with theirs, for one target. Documents
        are read with that of passages half of the times.
    """

    tokens: int = TOKENS
    longest: int = 512
    longest_document: int = 1536
    document_share: float = 0.2
    of_passage: float = 1.0
    of_document: float = 0.15
    instructions: Mapping[str, str] = field(default_factory=dict)


class Material:
    """Texts with their targets (N, D) as batches."""

    def __init__(
        self, texts: Texts, tokenizer: Tokenizer, targets: Vectors, draw: Draw, seed: int
    ) -> None:
        self._texts, self._draw, self._seed = texts, draw, seed
        every = list(texts.index)
        before = draw.instructions
        asked = {at: before[source] for at, source in enumerate(texts.sources) if source in before}
        read = every + [asked[at] + every[at] for at in asked]
        self._sources = [*texts.sources, *(texts.sources[at] for at in asked)]
        self._targets = targets[[*range(len(every)), *asked]]
        self._pieces = [
            _cut(np.array(ids, np.int32), draw.longest)
            for ids in encode(tokenizer, read, special_tokens=True)
        ]
        self._lengths = np.array([len(each) for each in self._pieces])
        order = np.random.default_rng([seed, 1]).permutation(len(every))
        self._held = np.zeros(len(every), bool)
        self._held[order[: min(_HELD_OUT, len(order) // 10)]] = True
        self._held = np.concatenate([self._held, self._held[list(asked)]])
        documents = texts.documents
        self._documents = np.array([at for at, each in enumerate(documents) if self._usable(each)])
        (self._instruction,) = encode(tokenizer, [before.get(PASSAGE, "")], special_tokens=False)
        lengths = np.array([self._length(each) for each in documents], np.int64)
        # A document's index and the number of documents more: it has the instruction before it.
        self._document_lengths = np.concatenate([lengths, lengths + len(self._instruction)])

    def batches(self, tokens: int) -> "Batches":
        """Batches to learn from until there are so many tokens, pass after pass."""
        planned: list[_Planned] = []
        number = 0
        while len(planned) * self._draw.tokens < tokens:
            planned += self._one_pass(np.random.default_rng([self._seed, 0, number]))
            number += 1
        return Batches(self, planned[: max(1, tokens // self._draw.tokens)])

    def validation(self) -> list[HealingBatch]:
        """The texts that are held out."""
        held = np.flatnonzero(self._held)
        return [self.batch((False, each)) for each in self._filled(held, self._lengths)]

    def batch(self, planned: _Planned) -> HealingBatch:
        """The rows and targets of a batch."""
        of_documents, indices = planned
        if not of_documents:
            rows = [Row.single_span(self._pieces[index], None) for index in indices]
            return HealingBatch(rows, torch.from_numpy(self._targets[indices]))
        documents = [self._document(index) for index in indices]
        targets = np.concatenate([each for _, each in documents])
        return HealingBatch([row for row, _ in documents], torch.from_numpy(targets))

    def _one_pass(self, random: np.random.Generator) -> list[_Planned]:
        often = np.array([_OFTEN.get(source, 1.0) for source in self._sources])
        copies = np.where(self._held, 0, often + random.random(len(often))).astype(np.int64)
        order = random.permutation(np.repeat(np.arange(len(often)), copies))
        planned: list[_Planned] = []
        for start in range(0, len(order), _SORTED):
            some = order[start : start + _SORTED]
            planned += [(False, each) for each in self._filled(some, self._lengths)]
        if len(self._documents):
            share, lengths = self._draw.document_share, self._document_lengths
            tokens = len(planned) * self._draw.tokens * share / (1 - share)
            count = max(1, round(tokens / lengths[self._documents].mean()))
            drawn = random.choice(self._documents, size=count)
            drawn += len(self._texts.documents) * random.integers(2, size=count)
            planned += [(True, each) for each in self._filled(drawn, lengths)]
        return [planned[at] for at in random.permutation(len(planned))]

    def _usable(self, document: Document) -> bool:
        segments = [at for _, each in document for at in each]
        return bool(segments) and not self._held[segments].any()

    def _length(self, document: Document) -> int:
        segments = [at for _, each in document for at in each]
        return min(self._draw.longest_document, 2 + int((self._lengths[segments] - 2).sum()))

    def _filled(self, indices: Indices, lengths: Indices) -> Iterator[list[int]]:
        """Batches of what has about one length. A loss of pairs needs two."""
        for batch in batches_by_length(lengths[indices].tolist(), self._draw.tokens, least=2):
            yield indices[batch].tolist()

    def _document(self, index: int) -> tuple[Row, Vectors]:
        """A row of segments, as many as fit, and their targets (S, D). The first span has what is
        before it, as in Tokenizer.rows."""
        draw = self._draw
        instructed, at = divmod(index, len(self._texts.documents))
        document = self._texts.documents[at]
        ids, spans = [_BOS], [0]
        if instructed:
            ids.append(np.array(self._instruction, np.int32))
        own: list[Vectors] = []
        around: list[Vectors] = []
        for whole, segments in document:
            vectors = self._targets[segments]
            passage = (
                self._targets[[whole]] if whole is not None else vectors.mean(0, keepdims=True)
            )
            for segment, vector in zip(segments, vectors, strict=True):
                pieces = self._pieces[segment][1:-1][
                    : draw.longest_document - 1 - sum(map(len, ids))
                ]
                if len(pieces):
                    ids.append(pieces)
                    spans.append(sum(map(len, ids)))
                    own.append(vector)
                    around.append(normalised(passage)[0])
        spans[-1] += 1
        row = Row(
            np.concatenate([*ids, _EOS]),
            None,
            np.stack([spans[:-1], spans[1:]], 1).astype(np.int32),
        )
        of_document = normalised(np.mean(around, axis=0, keepdims=True))
        wanted = np.array(own) + draw.of_passage * np.array(around) + draw.of_document * of_document
        return row, (wanted / (1 + draw.of_passage + draw.of_document)).astype(np.float32)


class Batches:
    """Planned batches, by number."""

    def __init__(self, material: Material, planned: Sequence[_Planned]) -> None:
        self._material, self._planned = material, planned

    def __len__(self) -> int:
        return len(self._planned)

    def batch(self, number: int) -> HealingBatch:
        """Batch 0, 1, ..."""
        return self._material.batch(self._planned[number])


def _cut(pieces: TokenIds, longest: int) -> TokenIds:
    """A text's pieces; those of a longer one end with `</s>` all the same."""
    if len(pieces) <= longest:
        return pieces
    return np.concatenate([pieces[: longest - 1], _EOS])
