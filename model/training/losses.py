"""The losses on vectors, and their sum over Matryoshka sizes.

B texts or pairs of a batch, D dimensions, X further negatives. Vectors need not be normalised.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[..., Tensor]


def matryoshka(loss: Loss, sizes: Sequence[int]) -> Loss:
    """The sum of a loss of vectors over their first m components, for every m of `sizes`.

        L(z, ...) = sum over m of loss(z[:, :m], ...)

    https://arxiv.org/abs/2205.13147 (Matryoshka Representation Learning), eq. 1, with equal
    weights. Vectors are the positional arguments; others are handed on as they are.
    """

    def summed(*vectors: Tensor, **others: object) -> Tensor:
        return torch.stack(
            [loss(*(each[:, :size] for each in vectors), **others) for size in sizes]
        ).sum()

    return summed


def info_nce(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    *,
    temperature: float,
    same: Tensor | None = None,
) -> Tensor:
    """InfoNCE both ways: each anchor finds its positive in the batch, and each positive its anchor.

        -1/2 mean over i of log(e[i, i] / sum over j of e[i, j]) + log(e[i, i] / sum of e[j, i])
        e[i, j] = exp(cos(anchor i, positive j) / temperature)

    The first sum is over the `negatives` (X, D), too. anchors, positives (B, D). `same` (B, B + X)
    bool says which positives and negatives are right for anchor i as well; those are not negatives.
    https://arxiv.org/abs/1807.03748 (InfoNCE), eq. 4; both ways as in https://arxiv.org/abs/2103.00020
    (CLIP), fig. 3.
    """
    cosines = _unit(anchors) @ _unit(positives).T / temperature
    count = len(anchors)
    targets = torch.arange(count, device=anchors.device)
    if negatives is not None:
        cosines = torch.cat([cosines, _unit(anchors) @ _unit(negatives).T / temperature], dim=1)
    if same is not None:
        others = same & ~torch.eye(*same.shape, dtype=torch.bool, device=same.device)
        cosines = cosines.masked_fill(others, -torch.inf)
    back = cosines[:, :count].T
    return (F.cross_entropy(cosines, targets) + F.cross_entropy(back, targets)) / 2


def cosent(first: Tensor, second: Tensor, *, scores: Tensor, temperature: float) -> Tensor:
    """CoSENT: a pair with a higher score gets a higher cosine.

        log(1 + sum over scores[i] > scores[j] of exp((cos j - cos i) / temperature))

    first, second (B, D), scores (B,) on any scale. https://kexue.fm/archives/8847
    """
    cosines = F.cosine_similarity(first, second) / temperature
    wrong = cosines[None, :] - cosines[:, None]  # (i, j): positive where j is above i
    wrong = wrong.masked_fill(scores[:, None] <= scores[None, :], -torch.inf)
    return torch.logsumexp(F.pad(wrong.flatten(), (1, 0)), dim=0)


def cosine_regression(first: Tensor, second: Tensor, *, scores: Tensor) -> Tensor:
    """A pair's cosine becomes its score: mean over i of (cos(first i, second i) - scores[i])^2.

    first, second (B, D), scores (B,) from -1 to 1. Unlike CoSENT it decides the cosines, and
    not only their order. The regression objective of https://arxiv.org/abs/1908.10084
    (Sentence-BERT), section 3.
    """
    return F.mse_loss(F.cosine_similarity(first, second), scores)


def sup_con(vectors: Tensor, *, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss: texts with the same label get near each other.

        mean over i of -1/|P(i)| sum over p in P(i) of log(e[i, p] / sum over a != i of e[i, a])

    P(i) are the others with i's label; texts without any are left out of the mean. vectors (B, D),
    labels (B,). https://arxiv.org/abs/2004.11362, eq. 2. Without any such pair the loss is 0.
    """
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    unit = _unit(vectors)
    cosines = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    logs = F.log_softmax(cosines, dim=1).masked_fill(itself, 0.0)
    alike = (labels[:, None] == labels[None, :]) & ~itself
    counts = alike.sum(dim=1)
    means = (logs * alike).sum(dim=1) / counts.clamp(min=1)
    return -means.sum() / (counts > 0).sum().clamp(min=1)


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=1)
