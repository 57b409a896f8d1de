"""LoRA: all adapters stacked and resident; a token gets its own adapter's correction.

T tokens, A adapters, r rank, R = A * r rounded up to whole vectors of the hardware, V vocabulary,
D hidden. The scale alpha / rank is folded into `b`.
https://arxiv.org/abs/2106.09685 (LoRA), eq. 3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.linear_kernels import LinearKernel
from model.packing import NO_ADAPTER, PackedBatch, round_up

# Matrix kernels of GPUs want columns in groups of so many; the stack is filled up with zeros.
_WHOLE_RANKS = 8
# CPUs want as many as a vector has bfloat16 numbers; those past R are cut off again.
_WHOLE_OUTPUTS = 32


class AdapterMasks:
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
            stack = round_up(self._adapters * rank, _WHOLE_RANKS)
            columns = torch.arange(stack, device=self._own.device)
            self._masks[rank] = (columns // rank == self._own).to(self._dtype)
        return self._masks[rank]


class AdaptedLinear(nn.Module):
    """A linear layer with the corrections of all adapters, and what follows it.

        y[t] = weight @ x[t] + bias + b @ (mask[t] * (a @ x[t])), then GELU or + residual[t]

    weight (out, in), bias (out,), a (A, r, in), b (A, out, r). The corrections go by the narrow
    side: the product reads [x, masked a @ x] with the weights [weight, b], or, where x is wider
    than y, they are added to the residual beforehand.
    """

    def __init__(
        self,
        product: type[LinearKernel],
        weight: Tensor,
        bias: Tensor,
        lora: tuple[Tensor, Tensor],
        *,
        gelu: bool = False,
    ) -> None:
        super().__init__()
        a, b = lora
        self.num_parameters = sum(tensor.numel() for tensor in (weight, bias, a, b))
        adapters, self._rank, self._into = a.shape
        has = adapters * self._rank
        self._stack = round_up(has, _WHOLE_RANKS)  # R
        missing = round_up(has, _WHOLE_OUTPUTS) - has
        self._down = product(F.pad(a.flatten(0, 1), (0, 0, 0, missing)), None)
        b = F.pad(b.permute(1, 0, 2).flatten(1), (0, self._stack - has))  # (out, R)
        self._up = product(b, None) if self._into > len(weight) and not gelu else None
        self._bias = bias
        self._gelu = gelu
        if self._up is None:
            weight = torch.cat([weight, b], 1)
        self._product = product(weight, bias, gelu=gelu)
        self._merged: LinearKernel | None = None

    def base_weight(self) -> Tensor:
        """The weight (out, in) without any adapter."""
        return self._product.dense_weight()[:, : self._into]

    def merge(self, adapter: int) -> None:
        """Add one adapter's correction to a copy of the weight, for batches that have no other."""
        self.forget_merged()  # its memory is needed now
        dense = self._product.dense_weight()
        b = dense[:, self._into :] if self._up is None else self._up.dense_weight()
        own = slice(adapter * self._rank, (adapter + 1) * self._rank)
        merged = dense[:, : self._into].to(torch.float32, copy=True)
        merged.addmm_(b[:, own].float(), self._down.dense_weight()[own].float())
        self._merged = type(self._product)(merged.to(b.dtype), self._bias, gelu=self._gelu)

    def forget_merged(self) -> None:
        """Give the merged copy up."""
        self._merged = None

    def forward(
        self, x: Tensor, corrections: AdapterMasks | None, residual: Tensor | None = None
    ) -> Tensor:
        """x (T, in), and residual (T, out) where it follows -> (T, out)."""
        if corrections is not None and corrections.merged:
            assert self._merged is not None, "weights are merged before they are used"
            return self._merged(x, residual)
        low = None
        if corrections is not None:
            low = self._down(x)[:, : self._stack] * corrections.mask(self._rank)  # (T, R)
        if self._up is None:
            low = x.new_zeros(len(x), self._stack) if low is None else low
            x = torch.cat([x, low], 1)
        elif low is not None:
            assert residual is not None, "a layer with narrow rows stands before a residual"
            residual = self._up(low, residual)
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
        self.num_parameters = sum(tensor.numel() for tensor in (word, a, b, token_type))

    def forward(self, batch: PackedBatch, corrections: AdapterMasks | None) -> Tensor:
        """Tokens of the batch -> (T, D)."""
        x = F.embedding(batch.token_ids, self.word) + self.token_type[batch.adapters]
        if corrections is None:
            return x
        own = self.a[batch.adapters.clamp(min=0), batch.token_ids]  # (T, r)
        adapters, _, rank = self.a.shape
        stacked = own.repeat(1, adapters) * corrections.mask(rank)[:, : adapters * rank]
        return torch.addmm(x, stacked, self.b)
