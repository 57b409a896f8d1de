"""LoRA: all adapters stacked and resident; a token gets its own adapter's correction.

T tokens, A adapters, r rank, V vocabulary, D hidden. The scale alpha / rank is folded into `b`.
https://arxiv.org/abs/2106.09685 (LoRA), eq. 3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.packing import NO_ADAPTER, PackedBatch


def adapter_mask(batch: PackedBatch, adapters: int, dtype: torch.dtype) -> Tensor | None:
    """(T, A): 1 at each token's own adapter and 0 elsewhere; None where no token has one."""
    if not batch.has_adapters:
        return None
    indices = torch.arange(adapters, device=batch.adapters.device)
    return (batch.adapters.unsqueeze(1) == indices).to(dtype)


def masked(hidden: Tensor, mask: Tensor) -> Tensor:
    """Keep each token's own adapter: hidden (T, A * r) and mask (T, A) -> (T, A * r)."""
    kept: Tensor = (hidden.unflatten(1, (mask.shape[1], -1)) * mask.unsqueeze(2)).flatten(1)
    return kept


class AdaptedLinear(nn.Module):
    """A linear layer with the corrections of all adapters.

        y[t] = weight @ x[t] + bias + b @ (mask[t] * (a @ x[t]))

    weight (out, in), bias (out,), a (A * r, in), b (out, A * r).
    """

    weight: Tensor
    bias: Tensor
    a: Tensor
    b: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, a: Tensor, b: Tensor) -> None:
        super().__init__()
        for name, tensor in (("weight", weight), ("bias", bias), ("a", a), ("b", b)):
            self.register_parameter(name, nn.Parameter(tensor, requires_grad=False))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (T, in), mask (T, A) or None -> (T, out)."""
        y = F.linear(x, self.weight, self.bias)
        if mask is None:
            return y
        return torch.addmm(y, masked(F.linear(x, self.a), mask), self.b.t())


class AdaptedEmbedding(nn.Module):
    """The word table and the token-type row, each with the corrections of all adapters.

        x[t] = word[id] + a[adapter, id] @ b[adapter] + token_type[adapter]

    word (V, D), a (A, V, r), b (A * r, D). token_type (A + 1, D) has each adapter's corrected row
    and, last, the base row, which is what index -1 means. Rows of `a` are gathered; the corrected
    table of V rows is never built.
    """

    word: Tensor
    a: Tensor
    b: Tensor
    token_type: Tensor

    def __init__(self, word: Tensor, a: Tensor, b: Tensor, token_type: Tensor) -> None:
        super().__init__()
        assert NO_ADAPTER == -1, "the base row is the last one"
        for name, tensor in (("word", word), ("a", a), ("b", b), ("token_type", token_type)):
            self.register_parameter(name, nn.Parameter(tensor, requires_grad=False))

    def forward(self, batch: PackedBatch, mask: Tensor | None) -> Tensor:
        """Tokens of the batch, mask (T, A) or None -> (T, D)."""
        x = F.embedding(batch.token_ids, self.word) + self.token_type[batch.adapters]
        if mask is None:
            return x
        own = self.a[batch.adapters.clamp(min=0), batch.token_ids]  # (T, r)
        stacked = masked(own.repeat(1, mask.shape[1]), mask)  # (T, A * r)
        return torch.addmm(x, stacked, self.b)
