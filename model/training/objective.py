"""Objective: a batch of examples -> its loss, by the kind of the examples.

B records of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.tasks import Tasks
from model.tokenizer import Reading, Tokenizer
from model.training.data import LABELLED, SCORED, Examples
from model.training.losses import Loss, cosent, cosine_regression, info_nce, matryoshka, sup_con
from model.training.student import Student


@dataclass(frozen=True, slots=True)
class Sides:
    """The tasks that read the two sides of a record: another one for passages than for queries."""

    first: str
    second: str


class Objective(nn.Module):
    """The Matryoshka loss of a batch, as a module whose one forward pass is the whole step.

    InfoNCE for pairs and triples, supervised contrastive for labels, and for scored pairs CoSENT,
    or with `exact` scores, which are cosines, their regression.
    """

    def __init__(
        self,
        student: Student,
        reader: tuple[Tokenizer, Tasks],
        sides: Sides,
        temperature: float,
        *,
        exact: bool = False,
    ) -> None:
        super().__init__()
        self.student = student
        self._tokenizer, self._tasks = reader
        self._sides = sides
        self._temperature = temperature
        self._exact = exact
        config = student.config
        self._sizes = config.matryoshka_dimensions or (config.hidden_size,)

    def forward(self, batch: Examples) -> Tensor:
        """The loss, a number."""
        tasks = (self._sides.first, self._sides.second, self._sides.second)
        vectors = [
            self._read(texts, task) for texts, task in zip(batch.columns, tasks, strict=False)
        ]
        # Cosines of bfloat16 are too coarse to be told apart.
        with torch.autocast(vectors[0].device.type, enabled=False):
            return self._loss(batch, vectors)

    def _loss(self, batch: Examples, vectors: list[Tensor]) -> Tensor:
        device = vectors[0].device
        if batch.kind == LABELLED:
            labels = torch.tensor(_numbers(batch.values), device=device)
            return self._each(sup_con)(*vectors, labels=labels, temperature=self._temperature)
        if batch.kind == SCORED:
            scores = torch.tensor(batch.values, device=device)
            if self._exact:
                return self._each(cosine_regression)(*vectors, scores=scores)
            return self._each(cosent)(*vectors, scores=scores, temperature=self._temperature)
        same = _same(batch).to(device)
        return self._each(info_nce)(*vectors, same=same, temperature=self._temperature)

    def _each(self, loss: Loss) -> Loss:
        return matryoshka(loss, self._sizes)

    def _read(self, texts: Sequence[str], task: str) -> Tensor:
        rows = self._tokenizer.rows(list(texts), self._tasks.named(task), Reading(truncate=True))
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.student.is_taught(task)):
            vectors: Tensor = self.student(rows.rows, task)
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
