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

# Matrix kernels of GPUs want columns in groups of so many; the stack is filled up with zeros.
_WHOLE_RANKS = 8


class Corrections:
    """What the adapters of one batch are. `merged` says that it has one adapter, and that the
    weights merged for it are to be used."""

    def __init__(
        self, batch: PackedBatch, adapters: int, dtype: torch.dtype, *, merged: bool = False
    ) -> None:
        self.merged = merged
        self._own = batch.adapters.unsqueeze(1)  # (T, 1)
        self._adapters = adapters
        self._dtype = dtype
        self._masks: dict[int, Tensor] = {}

    def mask(self, rank: int) -> Tensor:
        """(T, R) for stacks of that rank: 1 in the columns of a token's own adapter, 0 elsewhere.

        The stacks of a model may have several ranks.
        """
        if rank not in self._masks:
            columns = torch.arange(_whole(self._adapters * rank), device=self._own.device)
            self._masks[rank] = (columns // rank == self._own).to(self._dtype)
        return self._masks[rank]


def _whole(columns: int) -> int:
    return -(-columns // _WHOLE_RANKS) * _WHOLE_RANKS


class AdaptedLinear(nn.Module):
    """A linear layer with the corrections of all adapters, and what follows it.

        y[t] = weight @ x[t] + bias + b @ (mask[t] * (a @ x[t])), then GELU or + residual[t]

    weight (out, in), bias (out,), a (A, r, in), b (A, out, r). The corrections cost no pass over
    y: either the product reads [x, masked a @ x] with the weights [weight, b], or, in front of a
    residual, they are added to that beforehand, which is as wide as the narrow side.
    """

    a: Tensor
    b: Tensor

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
        missing = _whole(adapters * self._rank) - adapters * self._rank
        self.register_buffer("a", F.pad(a.flatten(0, 1), (0, 0, 0, missing)))  # (R, in)
        self.register_buffer("b", F.pad(b.permute(1, 0, 2).flatten(1), (0, missing)))  # (out, R)
        self._bias = bias
        self._then = then
        self._kernel = product
        whole = weight if then == "residual" else torch.cat([weight, self.b], 1)
        self._product = product(whole, bias, gelu=then == "gelu")
        self._merged: Product | None = None

    def base_weight(self) -> Tensor:
        """The weight (out, in) without any adapter."""
        return self._product.dense_weight()[:, : self.a.shape[1]]

    def merge(self, adapter: int) -> None:
        """Add one adapter's correction to a copy of the weight, for batches that have no other."""
        self._merged = None  # its memory is needed now
        own = slice(adapter * self._rank, (adapter + 1) * self._rank)
        weight = self.base_weight().float()
        weight.addmm_(self.b[:, own].float(), self.a[own].float())
        self._merged = self._kernel(weight.to(self.b.dtype), self._bias, gelu=self._then == "gelu")

    def forward(
        self, x: Tensor, corrections: Corrections | None, residual: Tensor | None = None
    ) -> Tensor:
        """x (T, in), and residual (T, out) where it follows -> (T, out)."""
        if corrections is not None and corrections.merged:
            assert self._merged is not None, "weights are merged before they are used"
            return self._merged(x, residual)
        low = None
        if corrections is not None:  # a @ x.T is quicker than x @ a.T, a having so few rows
            low = torch.mm(self.a, x.t()).t() * corrections.mask(self._rank)  # (T, R)
        if self._then != "residual":
            low = x.new_zeros(len(x), len(self.a)) if low is None else low
            return self._product(torch.cat([x, low], 1))
        assert residual is not None, "this layer stands before a residual"
        return self._product(x, residual if low is None else residual.addmm(low, self.b.t()))


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

    def forward(self, batch: PackedBatch, corrections: Corrections | None) -> Tensor:
        """Tokens of the batch -> (T, D)."""
        x = F.embedding(batch.token_ids, self.word) + self.token_type[batch.adapters]
        if corrections is None:
            return x
        own = self.a[batch.adapters.clamp(min=0), batch.token_ids]  # (T, r)
        adapters, _, rank = self.a.shape
        stacked = own.repeat(1, adapters) * corrections.mask(rank)[:, : adapters * rank]
        return torch.addmm(x, stacked, self.b)
