"""GPU encoder: the encoder's forward pass as functions of tensors, which torch.compile fuses.

The values are those of Encoder.forward up to rounding. A block has 8 kernels where all rows have
one adapter, and 18 where they have several; Encoder.forward has 30. The functions are compiled
once, for all numbers of tokens and rows, and every block runs through the same code.

- One adapter: for each adapter there is a copy of the blocks' weights, weight + b @ a.
- Several adapters, or no memory for the copies: the stacked corrections of lora.py. Products
  grouped by adapter (torch.nn.functional.grouped_mm) are slower than these for all batches of 16
  to 16,384 tokens (tests/bench/README.md).

T tokens, H heads, K = D / H, D hidden, R columns of a stack of adapters.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import VarlenAttend
from model.cpus import usable_cpus
from model.encoder import Block, Encoder
from model.lora import LinearTensors
from model.packing import PackedBatch
from model.rows import NO_ADAPTER


class BlockWeights(NamedTuple):
    """The linear layers of a block, and its norms: each weight (D,), bias (D,)."""

    qkv: LinearTensors
    out: LinearTensors
    fc1: LinearTensors
    fc2: LinearTensors
    norm1: tuple[Tensor, Tensor]
    norm2: tuple[Tensor, Tensor]


class BatchInputs(NamedTuple):
    """What all blocks read of a batch: adapters (T,), row_starts (R + 1,), and what turns the pairs
    of q and k, cos (T, K / 2, 1) and sin (T, K / 2, 2). Each element of a pair takes the other one
    times sin, which is negative for the first."""

    adapters: Tensor
    row_starts: Tensor
    cos: Tensor
    sin: Tensor


def linear(x: Tensor, layer: LinearTensors, adapters: Tensor, *, gelu: bool = False) -> Tensor:
    """x (T, in) -> (T, out), with each token's adapter if the layer has a stack, then GELU."""
    correction = None
    if layer.down is not None:
        low = F.linear(x, layer.down) * (layer.column_adapters == adapters[:, None])
        if layer.up is None:
            x = torch.cat([x, low], 1)
        else:
            correction = F.linear(low, layer.up)
    if gelu:  # with the product; on a GPU in its tanh form, which differs by at most 0.0005
        return torch._addmm_activation(layer.bias, x, layer.weight.t(), use_gelu=True)
    y = F.linear(x, layer.weight, layer.bias)
    return y if correction is None else y + correction


BlockFunction = Callable[[Tensor, BlockWeights, BatchInputs, int], Tensor]


def block_function(eps: float, varlen: VarlenAttend) -> BlockFunction:
    """A block: hidden states (T, D), weights, inputs, the longest row in tokens -> (T, D).

    Sizes of the model are read off tensors: torch.compile would take an int from around the
    function for one that changes, and divide by it in its kernels.
    """

    def block(x: Tensor, weights: BlockWeights, inputs: BatchInputs, longest: int) -> Tensor:
        qkv = linear(x, weights.qkv, inputs.adapters)
        qkv = qkv.unflatten(1, (3, -1, inputs.cos.shape[1], 2))  # (T, 3, H, K / 2, 2)
        pairs = qkv[:, :2]
        turned = pairs * inputs.cos[:, None, None] + pairs.flip(-1) * inputs.sin[:, None, None]
        q, k = turned.to(x.dtype).flatten(-2).unbind(1)
        attended = varlen(q, k, qkv[:, 2].flatten(-2), inputs.row_starts, longest).flatten(1)
        y = linear(attended, weights.out, inputs.adapters)
        x = F.layer_norm(x + y, x.shape[1:], *weights.norm1, eps)
        y = linear(x, weights.fc1, inputs.adapters, gelu=True)
        y = linear(y, weights.fc2, inputs.adapters)
        return F.layer_norm(x + y, x.shape[1:], *weights.norm2, eps)

    return block


InputsFunction = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, BatchInputs]]


def inputs_function(encoder: Encoder) -> InputsFunction:
    """What comes before the blocks: token_ids, positions, adapters (T,), row_starts (R + 1,) ->
    hidden states (T, D) and what all blocks read."""
    embedding, frequencies = encoder.embedding, encoder.rotary.frequencies
    word, a, b, token_type = embedding.word, embedding.a, embedding.b, embedding.token_type
    norm, eps = (encoder.norm.weight, encoder.norm.bias), encoder.config.layer_norm_eps
    column_adapters = torch.arange(len(b), device=b.device) // a.shape[2]

    def inputs(
        token_ids: Tensor, positions: Tensor, adapters: Tensor, row_starts: Tensor
    ) -> tuple[Tensor, BatchInputs]:
        x = F.embedding(token_ids, word) + F.embedding(adapters % len(token_type), token_type)
        low = a[adapters.clamp(min=0), token_ids].repeat(1, len(a))
        x = torch.addmm(x, low * (column_adapters == adapters[:, None]), b)
        x = F.layer_norm(x, x.shape[1:], *norm, eps)
        angles = torch.outer(positions.float(), frequencies)
        sin = angles.sin()
        turns = angles.cos()[:, :, None], torch.stack([-sin, sin], -1)
        return x, BatchInputs(adapters, row_starts, *turns)

    return inputs


def _weights(block: Block, adapter: int) -> BlockWeights:
    qkv, out, fc1, fc2 = (
        layer.tensors() if adapter == NO_ADAPTER else layer.merged_tensors(adapter)
        for layer in block.linears()
    )
    norm1, norm2 = ((norm.weight, norm.bias) for norm in (block.norm1, block.norm2))
    return BlockWeights(qkv, out, fc1, fc2, norm1, norm2)


def _mark_static(tensor: Tensor, *dimensions: int) -> None:
    """Tell torch.compile that these sizes are the model's, and not any batch's that equals them."""
    for each in (tensor, tensor._base):  # a view has the sizes of what it views as well
        if each is not None:
            torch._dynamo.mark_static(each, [axis for axis in dimensions if axis < each.ndim])


class GpuEncoder:
    """An encoder's functions and weights on a GPU.

    `modes` are the adapters whose merged weights are in memory, and NO_ADAPTER for the stacked
    corrections, by which any batch can be computed.
    """

    def __init__(self, encoder: Encoder, varlen: VarlenAttend) -> None:
        self._blocks = [block for block in encoder.blocks if isinstance(block, Block)]
        self._adapters = range(len(encoder.config.tasks))
        self._embedding, self._frequencies = encoder.embedding, encoder.rotary.frequencies
        self._inputs = inputs_function(encoder)
        self._block = block_function(encoder.config.layer_norm_eps, varlen)
        self._weights = {NO_ADAPTER: [_weights(block, NO_ADAPTER) for block in self._blocks]}

    @property
    def modes(self) -> list[int]:
        """The adapters that have merged weights, and NO_ADAPTER."""
        return list(self._weights)

    def merge(self) -> None:
        """Merge the weights of every adapter.

        Raises:
            torch.OutOfMemoryError: there is no memory for the copies; then none is kept.
        """
        try:
            for adapter in self._adapters:
                self._weights[adapter] = [_weights(block, adapter) for block in self._blocks]
        except torch.OutOfMemoryError:
            self._weights = {NO_ADAPTER: self._weights[NO_ADAPTER]}
            raise

    @property
    def merged_bytes(self) -> int:
        """The memory that the merged weights of all adapters take."""
        linears = (layer for block in self._blocks for layer in block.linears())
        return sum(layer.base_weight().nbytes for layer in linears) * len(self._adapters)

    def compile(self, example: PackedBatch) -> None:
        """Compile the functions by a batch, for batches of all sizes.

        Raises:
            Exception: what the compiler raises, if there is none for example. The functions then
                run as they are.
        """
        from torch._inductor.async_compile import (  # noqa: PLC0415  (takes a second)
            shutdown_compile_workers,
        )

        options: dict[str, str | int | bool | Callable[..., Any]]
        options = {"compile_threads": min(usable_cpus(), 8), "shape_padding": False}
        functions = self._inputs, self._block
        self._inputs = torch.compile(functions[0], dynamic=True, options=options)
        self._block = torch.compile(functions[1], dynamic=True, options=options)
        try:
            for tensor in self._all_weights():
                _mark_static(tensor, *range(tensor.ndim))
            batch = example.token_ids, example.positions, example.adapters, example.row_starts
            x, inputs = self._inputs(*batch)
            for tensor in (x, inputs.cos, inputs.sin):
                _mark_static(tensor, *range(1, tensor.ndim))
            for mode in self.modes[:2]:
                self._block(x, self._weights[mode][0], inputs, example.longest)
        except Exception:
            self._inputs, self._block = functions
            raise
        finally:
            shutdown_compile_workers()  # processes beside this one

    def _all_weights(self) -> Iterator[Tensor]:
        yield from (*self._embedding.buffers(), self._frequencies)
        for blocks in self._weights.values():
            for weights in blocks:
                for each in weights:
                    yield from (tensor for tensor in each if tensor is not None)

    def mode(self, batch: PackedBatch) -> int:
        """The weights that a batch is computed with: its only adapter's or NO_ADAPTER."""
        return batch.only_adapter if batch.only_adapter in self._weights else NO_ADAPTER

    def hidden(self, batch: PackedBatch, mode: int) -> Tensor:
        """A batch whose rows have the adapter `mode`, or any with NO_ADAPTER -> (T, D)."""
        x, inputs = self._inputs(batch.token_ids, batch.positions, batch.adapters, batch.row_starts)
        for weights in self._weights[mode]:
            x = self._block(x, weights, inputs, batch.longest)
        return x
