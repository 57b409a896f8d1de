"""Pooling: the mean of the hidden states of each span, for plain inputs and late chunking alike."""

import torch.nn.functional as F
from torch import Tensor

from model.packing import PackedBatch


def mean_over_spans(hidden: Tensor, batch: PackedBatch) -> Tensor:
    """hidden (T, D) -> vectors (S, D) float32, not normalised.

    Special tokens and instructions inside of a span count like any other token, as in the
    reference `encode()` (mean over the attention mask). Each bag of F.embedding_bag is a span.
    """
    return F.embedding_bag(
        batch.pooled_tokens, hidden.float(), offsets=batch.span_starts, mode="mean"
    )
