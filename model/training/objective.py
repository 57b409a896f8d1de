"""Computes the loss of a batch: embeds its texts and applies the loss for its kind of examples.

B records of a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.rows import Row
from model.tasks import Tasks
from model.tokenizer import RowOptions, Tokenizer
from model.training.data import LABELLED, SCORED, Examples
from model.training.losses import Loss, cosent, cosine_regression, info_nce, matryoshka, sup_con
from model.training.trainable_encoder import TrainableEncoder


@dataclass(frozen=True, slots=True)
class SideTasks:
    """The tasks that embed the two sides of a record, such as queries and passages."""

    first: str
    second: str


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Which loss vectors are trained with.

    `temperature` is that of InfoNCE, CoSENT and the supervised contrastive loss. `regress_scores`
    trains cosines to be the scores themselves, in place of CoSENT. `target_weight` is the weight of
    1 - the cosine with a text's target, which keeps what is good on texts unlike the examples.
    """

    temperature: float
    regress_scores: bool = False
    target_weight: float = 0.0


# Texts -> the indices of those that have a target, and these targets (n, D).
Targets = Callable[[Sequence[str]], tuple[list[int], Tensor]]


def no_targets(_: Sequence[str]) -> tuple[list[int], Tensor]:
    """Targets where no text has one."""
    return [], torch.empty(0)


class Objective(nn.Module):
    """The Matryoshka loss of a batch, as a module whose one forward pass is the whole step.

    InfoNCE for pairs and triples, CoSENT for scored pairs, supervised contrastive for labels.
    """

    def __init__(
        self,
        encoder: TrainableEncoder,
        tokenizer: tuple[Tokenizer, Tasks],
        sides: SideTasks,
        config: LossConfig,
        targets: Targets = no_targets,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self._tokenizer, self._tasks = tokenizer
        self._sides = sides
        self._config = config
        self._targets = targets
        self._sizes = encoder.config.matryoshka_dimensions or (encoder.config.hidden_size,)

    def forward(self, batch: Examples) -> Tensor:
        """The loss, a scalar."""
        tasks = (self._sides.first, self._sides.second, self._sides.second)
        sides = list(zip(batch.columns, tasks, strict=False))
        vectors = [self.encoder(self._rows(texts, task), task) for texts, task in sides]
        # The differences between cosines are too small for bfloat16.
        with torch.autocast(vectors[0].device.type, enabled=False):
            loss = self._loss(batch, vectors)
            if self._config.target_weight:
                texts = [text for column, _ in sides for text in column]
                distance = distance_to(self._targets, texts, torch.cat(vectors))
                loss = loss + self._config.target_weight * distance
        return loss

    def _loss(self, batch: Examples, vectors: list[Tensor]) -> Tensor:
        device, temperature = vectors[0].device, self._config.temperature
        if batch.kind == LABELLED:
            labels = _numbered(batch.values).to(device)
            return self._matryoshka(sup_con)(*vectors, labels=labels, temperature=temperature)
        if batch.kind == SCORED:
            if self._config.regress_scores:
                scores = torch.tensor(batch.values, device=device)
                return self._matryoshka(cosine_regression)(*vectors, scores=scores)
            # Only their order counts, and in float32 scores on a large scale would be equal.
            ranks = torch.tensor(np.unique(batch.values, return_inverse=True)[1], device=device)
            return self._matryoshka(cosent)(*vectors, scores=ranks, temperature=temperature)
        same = _same(batch).to(device)
        return self._matryoshka(info_nce)(*vectors, same=same, temperature=temperature)

    def _matryoshka(self, loss: Loss) -> Loss:
        return matryoshka(loss, self._sizes)

    def _rows(self, texts: Sequence[str], task: str) -> Sequence[Row]:
        reading = RowOptions(truncate=True)
        return self._tokenizer.rows(list(texts), self._tasks.by_name(task), reading).rows


def distance_to(targets: Targets, texts: Sequence[str], vectors: Tensor) -> Tensor:
    """The mean of 1 - the cosine of vectors (N, D) with their texts' targets; 0 without any."""
    indices, wanted = targets(texts)
    if not indices:
        return vectors.new_zeros(())
    return 1 - F.cosine_similarity(vectors[indices], wanted.to(vectors)).mean()


def _same(batch: Examples) -> Tensor:
    """(B, B + X): whether a positive or a negative is right for anchor i: its text is that of a
    positive of the anchor's text, or, of a positive, the anchor's own."""
    count = len(batch)
    numbers = _numbered([text for column in batch.columns for text in column])
    anchors, candidates = numbers[:count], numbers[count:]
    found = candidates[:count, None] == candidates
    same = (anchors[:, None] == anchors).float() @ found.float() > 0
    same[:, :count] |= anchors[:, None] == candidates[:count]
    return same


def _numbered(names: Sequence[float | str]) -> Tensor:
    """A number for each name (B,), the same for equal names."""
    last_index = {name: index for index, name in enumerate(names)}
    return torch.tensor([last_index[name] for name in names])
