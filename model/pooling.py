"""Pooling: the mean of the hidden states of each span, for plain inputs and late chunking alike."""

import torch
import torch.nn.functional as F
from torch import Tensor

from model.packing import SpanPieces


def mean_over_spans(hidden: Tensor, spans: SpanPieces) -> Tensor:
    """hidden (T, D) -> vectors (S, D) float32, not normalised.

    Special tokens and instructions inside of a span count like any other token, as in the
    reference `encode()` (mean over the attention mask). Each bag of F.embedding_bag is a piece of a
    span, and then a span; a GPU adds up the tokens of a bag one after the other.
    """
    sums = F.embedding_bag(
        spans.pooled_tokens, hidden.float(), offsets=spans.piece_starts, mode="sum"
    )
    if len(spans.piece_starts) > len(spans.lengths):
        pieces = torch.arange(len(sums), dtype=torch.int32, device=sums.device)
        sums = F.embedding_bag(pieces, sums, offsets=spans.first_pieces, mode="sum")
    return sums / spans.lengths[:, None]
