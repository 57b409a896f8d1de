"""Table: a vector for each piece of the vocabulary, learned from the teacher and from questions.

A text's vector is the mean of its pieces' normed vectors (architecture.normed). Two losses, each at
every Matryoshka size:

- of texts in any language: 4 * (1 - cos(vector, target)), target being the teacher's vector of the
  English text of the same meaning, and half the cross-entropy between the teacher's distribution
  over the batch's texts and the table's (https://arxiv.org/abs/2010.08240 distils the same way);
- of questions, a little: InfoNCE both ways with the passages that answer them. They are in few
  languages, and what they pull together there they pull away from the same words elsewhere.

Pieces are left out at random (word dropout), so that no text hangs on one of them.

B texts of a batch, P pieces of them, V vocabulary, D hidden, E the teacher's width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.training.losses import info_nce
from model.training.mini.architecture import CONSTANTS, normed

_TEMPERATURE = 0.05
_OF_COSINES, _OF_DISTRIBUTIONS, OF_QUESTIONS = 4.0, 0.5, 0.03
# Short prefixes count less: they cannot hold as much.
_SHORT_WEIGHTS = {32: 0.5, 64: 0.8, 128: 0.8}


@dataclass(frozen=True, slots=True)
class Bags:
    """Texts as pieces: ids (P,), and where each text begins among them (B,)."""

    ids: Tensor
    starts: Tensor

    @staticmethod
    def joined(parts: "Sequence[Bags]") -> "Bags":
        """The texts of all parts, in order."""
        before = np.cumsum([0, *(len(part.ids) for part in parts)])
        starts = [part.starts + int(at) for part, at in zip(parts, before, strict=False)]
        return Bags(torch.cat([part.ids for part in parts]), torch.cat(starts))


@dataclass(frozen=True, slots=True)
class TableBatch:
    """Texts with their targets (B, D - 2) and teacher vectors (B, E); questions with passages.

    `answers` (Q,) numbers the passages: it is equal for questions of one passage.
    """

    texts: Bags
    targets: Tensor
    teacher: Tensor
    questions: Bags
    passages: Bags
    answers: Tensor

    def to(self, device: torch.device) -> "TableBatch":
        """The same on a device."""
        bags = [
            Bags(each.ids.to(device), each.starts.to(device))
            for each in (self.texts, self.questions, self.passages)
        ]
        targets, teacher = self.targets.to(device), self.teacher.to(device)
        return TableBatch(bags[0], targets, teacher, bags[1], bags[2], self.answers.to(device))


class Table(nn.Module):
    """The vectors `words` (V, D - 2), as a module whose forward pass is the loss of a batch."""

    def __init__(self, vocabulary: int, sizes: Sequence[int], seed: int) -> None:
        super().__init__()
        self._width = sizes[-1] - CONSTANTS
        generator = torch.Generator().manual_seed(seed)
        self.words = nn.Parameter(0.3 * torch.randn(vocabulary, self._width, generator=generator))
        self._sizes = [(size, _SHORT_WEIGHTS.get(size, 1.0)) for size in (*sizes[:-1], self._width)]

    def forward(self, batch: TableBatch) -> Tensor:
        """The loss, a number."""
        # Cosines of bfloat16 are too coarse to be told apart.
        with torch.autocast(self.words.device.type, enabled=False):
            return self._loss(batch.to(self.words.device))

    def _loss(self, batch: TableBatch) -> Tensor:
        parts = [batch.texts, batch.questions, batch.passages]
        bags = Bags.joined(parts)
        # Only rows that the batch has are normed; the table is large.
        present, ids = torch.unique(bags.ids, return_inverse=True)
        rows = normed(self.words.index_select(0, present))
        vectors = F.embedding_bag(ids, rows, bags.starts, mode="mean")[:, : self._width]
        texts, questions, passages = vectors.split([len(part.starts) for part in parts])
        loss = self._from_teacher(texts, batch)
        if len(batch.answers):
            loss = loss + OF_QUESTIONS * self._from_questions(questions, passages, batch.answers)
        return loss

    def _from_teacher(self, vectors: Tensor, batch: TableBatch) -> Tensor:
        wanted = F.softmax((batch.teacher / _TEMPERATURE) @ batch.teacher.T, dim=1)
        loss = vectors.new_zeros(())
        for size, weight in self._sizes:
            unit = F.normalize(vectors[:, :size], dim=1)
            target = F.normalize(batch.targets[:, :size], dim=1)
            cosine = (unit * target).sum(dim=1).mean()
            crossed = F.cross_entropy((unit / _TEMPERATURE) @ unit.T, wanted)
            loss = loss + weight * (_OF_COSINES * (1 - cosine) + _OF_DISTRIBUTIONS * crossed)
        return loss

    def _from_questions(self, questions: Tensor, passages: Tensor, answers: Tensor) -> Tensor:
        same = answers[:, None] == answers[None, :]
        loss = questions.new_zeros(())
        for size, weight in self._sizes:
            pair = questions[:, :size], passages[:, :size]
            loss = loss + weight * info_nce(*pair, temperature=_TEMPERATURE, same=same)
        return loss


def principal(vectors: npt.NDArray[np.float16], width: int) -> npt.NDArray[np.float32]:
    """Teacher vectors (N, E) -> their first principal components (N, width), centred."""
    whole = vectors.astype(np.float32)
    whole -= whole.mean(axis=0)
    _, directions = np.linalg.eigh(whole.T @ whole / len(whole))
    turned: npt.NDArray[np.float32] = whole @ directions[:, ::-1][:, :width]
    return turned
