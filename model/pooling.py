"""Pooling: hidden states and spans -> vectors. Plain inputs and late chunking are the same code."""

import torch.nn.functional as F
from torch import Tensor

from model.packing import PackedBatch


def mean_over_spans(hidden: Tensor, batch: PackedBatch) -> Tensor:
    """The mean of the hidden states of each span: hidden (T, D) -> vectors (S, D) float32.

    Special tokens and instructions inside a span count like any other token, as in the reference
    `encode()` (mean over the attention mask). A bag of F.embedding_bag is a span.
    """
    return F.embedding_bag(
        batch.pooled_tokens, hidden.float(), offsets=batch.span_starts, mode="mean"
    )
