"""LoRA: all adapters stacked and resident; a token gets its own adapter's correction.

T tokens, A adapters, r rank, R = A * r rounded up to whole vectors of the hardware, V vocabulary,
D hidden. The scale alpha / rank is folded into `b`.
https://arxiv.org/abs/2106.09685 (LoRA), eq. 3.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.packing import NO_ADAPTER, PackedBatch
from model.products import Product

# Matrix kernels take columns in groups of so many; the stack is filled up with zeros.
_WHOLE_RANKS = 32


class Masks:
    """Which columns of a stack belong to each token's own adapter; the stacks of a model may have
    several ranks."""

    def __init__(self, batch: PackedBatch, adapters: int, dtype: torch.dtype) -> None:
        self._own = batch.adapters.unsqueeze(1)  # (T, 1)
        self._adapters = adapters
        self._dtype = dtype
        self._of_rank: dict[int, Tensor] = {}

    def of(self, rank: int) -> Tensor:
        """(T, R) for adapters of that rank: 1 in the token's own columns, 0 elsewhere."""
        if rank not in self._of_rank:
            columns = torch.arange(_whole(self._adapters * rank), device=self._own.device)
            self._of_rank[rank] = (columns // rank == self._own).to(self._dtype)
        return self._of_rank[rank]


def _whole(columns: int) -> int:
    return -(-columns // _WHOLE_RANKS) * _WHOLE_RANKS


class AdaptedLinear(nn.Module):
    """A linear layer with the corrections of all adapters, and what follows it.

        y[t] = weight @ x[t] + bias + b @ (mask[t] * (a @ x[t])), then GELU or + residual[t]

    weight (out, in), bias (out,), a (A, r, in), b (A, out, r). The corrections cost no pass over
    y: either the product reads [x, masked a @ x] with the weights [weight, b], or, in front of a
    residual, they are added to that beforehand, which is as wide as the narrow side.
    """

    def __init__(
        self,
        product: type[Product],
        weight: Tensor,
        bias: Tensor,
        lora: tuple[Tensor, Tensor],
        then: Literal["nothing", "gelu", "residual"] = "nothing",
    ) -> None:
        super().__init__()
        a, b = lora
        self.numbers = sum(tensor.numel() for tensor in (weight, bias, a, b))
        adapters, self._rank, _ = a.shape
        self._stack = _whole(adapters * self._rank)
        missing = self._stack - adapters * self._rank
        self._a = product(F.pad(a.flatten(0, 1), (0, 0, 0, missing)), None)
        b = F.pad(b.permute(1, 0, 2).flatten(1), (0, missing))  # (out, R)
        self._b = b.t() if then == "residual" else None
        whole = weight if then == "residual" else torch.cat([weight, b], 1)
        self._product = product(whole, bias, gelu=then == "gelu")

    def forward(self, x: Tensor, masks: Masks | None, residual: Tensor | None = None) -> Tensor:
        """x (T, in), and residual (T, out) where it follows -> (T, out)."""
        low = None if masks is None else self._a(x) * masks.of(self._rank)  # (T, R)
        if self._b is None:
            return self._product(
                torch.cat([x, x.new_zeros(len(x), self._stack) if low is None else low], 1)
            )
        assert residual is not None, "this layer stands before a residual"
        if low is not None:
            residual = torch.addmm(residual, low, self._b)
        return self._product(x, residual)


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
            self.register_buffer(name, tensor)
        self.numbers = sum(tensor.numel() for tensor in (word, a, b, token_type))

    def forward(self, batch: PackedBatch, masks: Masks | None) -> Tensor:
        """Tokens of the batch -> (T, D)."""
        x = F.embedding(batch.token_ids, self.word) + self.token_type[batch.adapters]
        if masks is None:
            return x
        own = self.a[batch.adapters.clamp(min=0), batch.token_ids]  # (T, r)
        adapters, _, rank = self.a.shape
        stacked = own.repeat(1, adapters) * masks.of(rank)[:, : adapters * rank]
        return torch.addmm(x, stacked, self.b)
