"""LoRA: every token gets the correction of its own adapter, from the stack of all adapters.

How an adapter is chosen for a token: `tasks` maps a task's name to an adapter's index, a row has
one adapter (`rows`), `packing` writes it for each token into `PackedBatch.adapters`, and here a
mask keeps the columns of that adapter out of the product with the whole stack. All adapters are
resident, so a batch may mix them.

T tokens, A adapters, r rank, R = A * r rounded up to the column groups of GPU kernels,
V vocabulary, D hidden. The scale alpha / rank is folded into `b`.
https://arxiv.org/abs/2106.09685 (LoRA), eq. 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.linear_kernels import LinearKernel, LinearKernels
from model.packing import PackedBatch, round_up
from model.rows import NO_ADAPTER

# GPU matrix kernels take columns in groups of 8; the stack is padded with zeros.
_RANK_MULTIPLE = 8
# A CPU vector holds 32 bfloat16 values; the outputs after R are cut off again.
_OUTPUT_MULTIPLE = 32


class AdapterMasks:
    """Which columns of a LoRA stack each token of a batch uses.

    `merged` are the products with merged weights that linear layers use instead, or None.
    """

    def __init__(
        self,
        batch: PackedBatch,
        adapters: int,
        dtype: torch.dtype,
        merged: "Mapping[AdaptedLinear, LinearKernel] | None" = None,
    ) -> None:
        self.merged = merged
        self._adapter_of = batch.adapters.unsqueeze(1)  # (T, 1)
        self._adapters = adapters
        self._dtype = dtype
        self._masks: dict[int, Tensor] = {}

    def mask(self, rank: int) -> Tensor:
        """(T, R) for stacks of that rank: 1 in the columns of a token's adapter, 0 elsewhere.

        The stacks of one model may have several ranks.
        """
        if rank not in self._masks:
            stack = round_up(self._adapters * rank, _RANK_MULTIPLE)
            columns = torch.arange(stack, device=self._adapter_of.device)
            self._masks[rank] = (columns // rank == self._adapter_of).to(self._dtype)
        return self._masks[rank]


@dataclass(frozen=True, slots=True)
class LinearTensors:
    """The tensors of a linear layer with a stack of adapters, or without one.

    weight (out, in), bias (out,); of a stack down (R, in), up (out, R), and its rank. Without `up`
    the weight has R further columns that lead up, (out, in + R). Without a stack rank is 0.
    """

    weight: Tensor
    bias: Tensor
    down: Tensor | None = None
    up: Tensor | None = None
    rank: int = 0


def padded_stack(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a (A, r, in), b (A, out, r) -> the stacks that lead down (R or more, in) and up (out, R)."""
    adapters, rank, _ = a.shape
    columns = adapters * rank
    missing = round_up(columns, _OUTPUT_MULTIPLE) - columns
    down = F.pad(a.flatten(0, 1), (0, 0, 0, missing))
    up = b.permute(1, 0, 2).flatten(1)
    return down, F.pad(up, (0, round_up(columns, _RANK_MULTIPLE) - columns))


class AdaptedLinear(nn.Module):
    """A linear layer with the LoRA of all adapters, and GELU or a residual sum after it.

        y[t] = weight @ x[t] + bias + b @ (mask[t] * (a @ x[t])), then GELU or + residual[t]

    weight (out, in), bias (out,), a (A, r, in), b (A, out, r). The correction is computed on the
    narrower side: one product reads [x, masked a @ x] with the weights [weight, b]; where x is
    wider than y, the correction is added to the residual beforehand.
    """

    def __init__(
        self,
        kernels: LinearKernels,
        weight: Tensor,
        bias: Tensor,
        lora: tuple[Tensor, Tensor],
        *,
        gelu: bool = False,
    ) -> None:
        super().__init__()
        self.num_parameters = sum(tensor.numel() for tensor in (weight, bias, *lora))
        _, self._rank, self._in = lora[0].shape
        down, b = padded_stack(*lora)
        self._stack = b.shape[1]  # R
        self._down = kernels.stacks(down, None)
        self._up = kernels.stacks(b, None) if self._in > len(weight) and not gelu else None
        self._bias = bias
        self._gelu = gelu
        if self._up is None:
            weight = torch.cat([weight, b], 1)
        self._kernel = kernels.weights(weight, bias, gelu=gelu)

    def base_weight(self) -> Tensor:
        """The weight (out, in) without any adapter."""
        return self._kernel.dense_weight()[:, : self._in]

    def tensors(self) -> LinearTensors:
        """The weight and the stack of all adapters."""
        dense = self._kernel.dense_weight()
        down = self._down.dense_weight()[: self._stack]
        if self._gelu or self._in < len(dense):
            return LinearTensors(dense, self._bias, down, rank=self._rank)
        up = dense[:, self._in :] if self._up is None else self._up.dense_weight()
        return LinearTensors(dense[:, : self._in], self._bias, down, up, self._rank)

    def merged_tensors(self, adapter: int) -> LinearTensors:
        """A copy of the weight with one adapter's LoRA added."""
        dense = self._kernel.dense_weight()
        b = dense[:, self._in :] if self._up is None else self._up.dense_weight()
        columns = slice(adapter * self._rank, (adapter + 1) * self._rank)
        merged = dense[:, : self._in].to(torch.float32, copy=True)
        merged.addmm_(b[:, columns].float(), self._down.dense_weight()[columns].float())
        return LinearTensors(merged.to(b.dtype), self._bias)

    def merged(self, adapter: int) -> LinearKernel:
        """The product with one adapter's weights merged, for batches that have no other."""
        merged = self.merged_tensors(adapter)
        return type(self._kernel)(merged.weight, merged.bias, gelu=self._gelu)

    def forward(
        self, x: Tensor, masks: AdapterMasks | None, residual: Tensor | None = None
    ) -> Tensor:
        """x (T, in), and residual (T, out) if there is one -> (T, out). `masks` is None for a batch
        without any adapter."""
        if masks is not None and masks.merged is not None:
            return masks.merged[self](x, residual)
        low = None
        if masks is not None:
            low = self._down(x)[:, : self._stack] * masks.mask(self._rank)  # (T, R)
        if self._up is None:
            low = x.new_zeros(len(x), self._stack) if low is None else low
            x = torch.cat([x, low], 1)
        elif low is not None:
            assert residual is not None, "a layer whose x is wider than y has a residual"
            residual = self._up(low, residual)
        return self._kernel(x, residual)


class AdaptedEmbedding(nn.Module):
    """The word table and the token-type row, each with the LoRA of all adapters.

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

    def forward(self, batch: PackedBatch, masks: AdapterMasks | None) -> Tensor:
        """Tokens of the batch -> (T, D)."""
        # The word table may be stored in fewer bits; the sum has the dtype of the rest.
        x = F.embedding(batch.token_ids, self.word) + self.token_type[batch.adapters]
        if masks is None:
            return x
        return torch.addmm(x, self._low(batch, masks), self.b)

    def corrections(self, batch: PackedBatch, masks: AdapterMasks) -> Tensor:
        """a[adapter, id] @ b[adapter] of each token, (T, D)."""
        return self._low(batch, masks) @ self.b

    def _low(self, batch: PackedBatch, masks: AdapterMasks) -> Tensor:
        """(T, A * r), with zeros but in the columns of each token's adapter."""
        low = self.a[batch.adapters.clamp(min=0), batch.token_ids]  # (T, r)
        adapters, _, rank = self.a.shape
        return low.repeat(1, adapters) * masks.mask(rank)[:, : adapters * rank]
