"""Healing: the student learns to say what the teacher says.

The teacher's cosines all lie between .7 and 1. So a target t is its vector u less most of the mean
of all, which spreads the cosines and keeps their order:

    t = u - P * mean

The student's vectors v of texts and spans get near that, and so do their cosines at every
Matryoshka size m:

    L = mean of 1 - cos(v, t)
        + S * sum over m of w[m] * mean over pairs of (cos(v[i, :m], v[j, :m]) - cos(t[i], t[j]))^2

Matrices are rounded to what is stored while it learns, so that the last rounding loses nothing; the
gradient passes as if they were not (the straight-through estimator of
https://arxiv.org/abs/1308.3432).

B vectors of a batch, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import JinaEmbeddingsV3Model

from model.rows import Row
from model.training.mini.student import rounded
from model.training.trainable_encoder import means_over_spans, padded

# P and S above, and the weights w of the full size and of each shorter one.
SHARE, _SIMILARITY = 0.8, 5.0
_FULL, _SHORTER = 1.0, 0.5
# On a CPU the backward pass of SDPA in bfloat16 is faster from about so many tokens a row, and does
# not keep the scores of all pairs of tokens.
_LONG = 512


@dataclass(frozen=True, slots=True)
class HealingBatch:
    """Rows, and the teacher's vector for each of their spans (B, D)."""

    rows: Sequence[Row]
    vectors: Tensor


@dataclass(frozen=True, slots=True)
class TeacherSpace:
    """The mean (D,) of the teacher's vectors."""

    mean: Tensor

    @staticmethod
    def of(vectors: Tensor) -> "TeacherSpace":
        """The space that vectors (N, D) are in."""
        return TeacherSpace(vectors.mean(dim=0))

    def targets(self, vectors: Tensor) -> Tensor:
        """t above, (B, D)."""
        return vectors - SHARE * self.mean

    def spread(self, cosines: Tensor) -> Tensor:
        """Cosines of the teacher's vectors as those of vectors less the mean, in the same order."""
        square = self.mean @ self.mean
        return (cosines - square) / (1 - square)


class _Rounded(nn.Module):
    """A matrix as it is stored."""

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix + (rounded(matrix) - matrix).detach()


class Healing(nn.Module):
    """The base, as a module whose forward pass is the loss of a batch."""

    def __init__(
        self, base: JinaEmbeddingsV3Model, space: TeacherSpace, sizes: Sequence[int]
    ) -> None:
        super().__init__()
        self.base = base
        self._space, self._sizes = space, tuple(sizes)
        matrices = [each for each in base.modules() if isinstance(each, nn.Linear)]
        self._rounded = [base.embeddings.word_embeddings, *matrices]
        for module in self._rounded:
            parametrize.register_parametrization(module, "weight", _Rounded())

    def forward(self, batch: HealingBatch) -> Tensor:
        """The loss, a scalar."""
        device = self.base.device
        self.base.set_attn_implementation(attention_of(max(map(len, batch.rows)), device))
        ids, mask = (each.to(device) for each in padded(batch.rows))
        states = self.base(input_ids=ids, attention_mask=mask).last_hidden_state
        vectors = means_over_spans(states.float(), batch.rows)
        # The differences between cosines are too small for bfloat16.
        with torch.autocast(device.type, enabled=False):
            targets = self._space.targets(batch.vectors).to(device)
            return healing_loss(vectors, targets, self._sizes)

    def healed(self) -> JinaEmbeddingsV3Model:
        """The base with its matrices as they are stored."""
        for module in self._rounded:
            parametrize.remove_parametrizations(module, "weight")
        return self.base.cpu()


def attention_of(longest: int, device: torch.device) -> str:
    """The implementation of attention for rows of so many tokens, as transformers names it."""
    return "sdpa" if longest > _LONG or device.type != "cpu" else "eager"


def healing_loss(vectors: Tensor, targets: Tensor, sizes: Sequence[int]) -> Tensor:
    """L above, a scalar, of the student's vectors and their targets, both (B, D)."""
    others = ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    wanted = _cosines(targets)
    loss = 1 - F.cosine_similarity(vectors, targets).mean()
    for size in sizes:
        squares = ((_cosines(vectors[:, :size]) - wanted) ** 2)[others].mean()
        weight = _FULL if size == vectors.shape[1] else _SHORTER
        loss = loss + weight * _SIMILARITY * squares
    return loss


def _cosines(vectors: Tensor) -> Tensor:
    unit = F.normalize(vectors, dim=1)
    return unit @ unit.T
