"""Objective: a batch of examples -> its loss, by the kind of the examples.

B records of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.rows import Row
from model.tasks import Tasks
from model.tokenizer import RowOptions, Tokenizer
from model.training.data import LABELLED, SCORED, Examples
from model.training.losses import Loss, cosent, cosine_regression, info_nce, matryoshka, sup_con
from model.training.student import Student


@dataclass(frozen=True, slots=True)
class Sides:
    """The tasks that read the two sides of a record: another one for passages than for queries."""

    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What vectors shall be like.

    `temperature` is of InfoNCE, CoSENT and the supervised contrastive loss. `exact` says that
    scores are the very cosines, which takes the place of CoSENT. `near` is the weight of 1 - the
    cosine with the vector that the base gives without an adapter, so that few examples do not
    cost what it knows of all other texts.
    """

    temperature: float
    exact: bool = False
    near: float = 0.0


class Objective(nn.Module):
    """The Matryoshka loss of a batch, as a module whose one forward pass is the whole step.

    InfoNCE for pairs and triples, CoSENT for scored pairs, supervised contrastive for labels.
    """

    def __init__(
        self, student: Student, reader: tuple[Tokenizer, Tasks], sides: Sides, wanted: Wanted
    ) -> None:
        super().__init__()
        self.student = student
        self._tokenizer, self._tasks = reader
        self._sides = sides
        self._wanted = wanted
        config = student.config
        self._sizes = config.matryoshka_dimensions or (config.hidden_size,)

    def forward(self, batch: Examples) -> Tensor:
        """The loss, a number."""
        tasks = (self._sides.first, self._sides.second, self._sides.second)
        rows = [
            (self._rows(texts, task), task)
            for texts, task in zip(batch.columns, tasks, strict=False)
        ]
        vectors = [self._read(*each) for each in rows]
        # Cosines of bfloat16 are too coarse to be told apart.
        with torch.autocast(vectors[0].device.type, enabled=False):
            loss = self._loss(batch, vectors)
        if self._wanted.near:
            loss = loss + self._wanted.near * self._drift(vectors, [each for each, _ in rows])
        return loss

    def _loss(self, batch: Examples, vectors: list[Tensor]) -> Tensor:
        device, temperature = vectors[0].device, self._wanted.temperature
        if batch.kind == LABELLED:
            labels = torch.tensor(_numbers(batch.values), device=device)
            return self._each(sup_con)(*vectors, labels=labels, temperature=temperature)
        if batch.kind == SCORED:
            scores = torch.tensor(batch.values, device=device)
            if self._wanted.exact:
                return self._each(cosine_regression)(*vectors, scores=scores)
            return self._each(cosent)(*vectors, scores=scores, temperature=temperature)
        same = _same(batch).to(device)
        return self._each(info_nce)(*vectors, same=same, temperature=temperature)

    def _drift(self, vectors: list[Tensor], rows: list[Sequence[Row]]) -> Tensor:
        """How far the vectors are from those without an adapter: the mean of 1 - cosine."""
        with torch.no_grad():
            base = [self.student(each, None) for each in rows]
        return 1 - F.cosine_similarity(torch.cat(vectors), torch.cat(base)).mean()

    def _each(self, loss: Loss) -> Loss:
        return matryoshka(loss, self._sizes)

    def _rows(self, texts: Sequence[str], task: str) -> Sequence[Row]:
        reading = RowOptions(truncate=True)
        return self._tokenizer.rows(list(texts), self._tasks.named(task), reading).rows

    def _read(self, rows: Sequence[Row], task: str) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.student.is_taught(task)):
            vectors: Tensor = self.student(rows, task)
        return vectors


def _same(batch: Examples) -> Tensor:
    """(B, B): whether positive j is right for anchor i because they share a text."""
    found = torch.zeros(len(batch), len(batch), dtype=torch.bool)
    for column in batch.columns[:2]:
        numbers = torch.tensor(_numbers(column))
        found |= numbers[:, None] == numbers[None, :]
    return found


def _numbers(names: Sequence[float | str]) -> list[int]:
    """The same number for the same name."""
    known: dict[float | str, int] = {}
    return [known.setdefault(name, len(known)) for name in names]
