"""GPU encoder: the encoder's forward pass on a GPU, in few kernels.

It computes what Encoder.forward does, up to rounding, which has 30 kernels a block:

- One adapter, 8 kernels: for each adapter there is a copy of the blocks' weights, weight + b @ a.
- Several adapters, or no memory for the copies, 18 kernels: the stacked corrections of lora.py.
  Products grouped by adapter (torch.nn.functional.grouped_mm) are slower than these for all
  batches of 16 to 16,384 tokens, and torch.compile fuses less (tests/bench/README.md).

Everything is a function of tensors on the device: a CUDA graph can record it. T tokens, H heads, K
numbers of a head, D hidden, R columns of a stack of adapters.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import VarlenAttend
from model.encoder import Block, Encoder
from model.gpu_kernels import choose_kernels
from model.int8_linear import Int8AdaptedLinear
from model.lora import AdaptedLinear, AdapterMasks, LinearTensors
from model.packing import PackedBatch
from model.rows import NO_ADAPTER


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """The linear layers of a block and its norms."""

    qkv: LinearTensors
    out: LinearTensors
    fc1: LinearTensors
    fc2: LinearTensors
    norm1: nn.LayerNorm
    norm2: nn.LayerNorm

    @staticmethod
    def of(block: Block, adapter: int) -> "BlockWeights":
        """The weights merged for an adapter, or the stack of all for NO_ADAPTER."""
        qkv, out, fc1, fc2 = (
            layer.tensors() if adapter == NO_ADAPTER else layer.merged_tensors(adapter)
            for layer in _linears(block)
        )
        return BlockWeights(qkv, out, fc1, fc2, block.norm1, block.norm2)


def _linears(block: Block) -> Iterator[AdaptedLinear]:
    for layer in block.linears():
        assert not isinstance(layer, Int8AdaptedLinear), "int8 is computed on a CPU"
        yield layer


class GpuEncoder:
    """An encoder's weights and kernels on a GPU.

    `modes` are the adapters whose merged weights are in memory, and NO_ADAPTER for the stacked
    corrections, by which any batch can be computed.
    """

    def __init__(self, encoder: Encoder, varlen: VarlenAttend) -> None:
        config, embedding = encoder.config, encoder.embedding
        self._config = config
        self._embedding = embedding
        self._norm = encoder.norm
        self._frequencies = encoder.rotary.frequencies
        self._blocks = [block for block in encoder.blocks if isinstance(block, Block)]
        self._varlen = varlen
        self._weights = {NO_ADAPTER: [BlockWeights.of(each, NO_ADAPTER) for each in self._blocks]}
        dtype, device = embedding.word.dtype, embedding.word.device
        self._kernels = choose_kernels(config.hidden_size, config.head_size, dtype, device)

    @property
    def kernels(self) -> str:
        """Which version of the kernels is in use."""
        return self._kernels.name

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
            for adapter in range(len(self._config.tasks)):
                self._weights[adapter] = [BlockWeights.of(each, adapter) for each in self._blocks]
        except torch.OutOfMemoryError:
            self._weights = {NO_ADAPTER: self._weights[NO_ADAPTER]}
            raise

    @property
    def merged_bytes(self) -> int:
        """The memory that the merged weights of all adapters take."""
        linears = (layer for block in self._blocks for layer in _linears(block))
        return sum(layer.base_weight().nbytes for layer in linears) * len(self._config.tasks)

    def mode(self, batch: PackedBatch) -> int:
        """The weights that a batch is computed with: its only adapter's or NO_ADAPTER."""
        return batch.only_adapter if batch.only_adapter in self._weights else NO_ADAPTER

    def hidden(self, batch: PackedBatch, mode: int) -> Tensor:
        """A batch whose rows have the adapter `mode`, or any with NO_ADAPTER -> (T, D)."""
        blocks = self._weights[mode]
        masks = AdapterMasks(batch, len(self._config.tasks), self._embedding.word.dtype)
        angles = torch.outer(batch.positions.float(), self._frequencies)
        turns = angles.cos(), angles.sin()
        x, middle = (
            LayerInput.empty(len(angles), layer, masks, self._embedding.word)
            for layer in (blocks[0].qkv, blocks[0].fc1)
        )
        self._embed(batch, masks, x.hidden)
        for block in blocks:
            qkv = F.linear(x.filled(block.qkv), block.qkv.weight, block.qkv.bias)
            attended = self._attended(qkv, turns, batch)
            self._add(x.hidden, attended, block.out, masks, block.norm1, middle.hidden)
            # GELU comes with the product, on a GPU in its form with tanh, which differs by at most
            # 0.0005: less than bfloat16 rounds where it does.
            inner = torch._addmm_activation(
                block.fc1.bias, middle.filled(block.fc1), block.fc1.weight.t(), use_gelu=True
            )
            self._add(middle.hidden, inner, block.fc2, masks, block.norm2, x.hidden)
        return x.hidden

    def _embed(self, batch: PackedBatch, masks: AdapterMasks, out: Tensor) -> None:
        """Write the hidden states that the first block reads."""
        embedding = self._embedding
        word = F.embedding(batch.token_ids, embedding.word)
        rows = batch.adapters % len(embedding.token_type)  # -1 is the last one
        token_type = F.embedding(rows, embedding.token_type)
        corrections = embedding.corrections(batch, masks)
        self._kernels.add_norm(word, token_type, corrections, self._norm, out)

    def _attended(self, qkv: Tensor, turns: tuple[Tensor, Tensor], batch: PackedBatch) -> Tensor:
        """qkv (T, 3 * D) -> attended values (T, D)."""
        heads = self._config.num_heads
        q, k = self._kernels.turn(qkv, *turns).unflatten(1, (2, heads, -1)).unbind(1)
        v = qkv.unflatten(1, (3, heads, -1))[:, 2]
        return self._varlen(q, k, v, batch.row_starts, batch.longest).flatten(1)

    def _add(  # noqa: PLR0913
        self,
        x: Tensor,
        y: Tensor,
        layer: LinearTensors,
        masks: AdapterMasks,
        norm: nn.LayerNorm,
        out: Tensor,
    ) -> None:
        """Write the norm of x + layer(y), (T, D), to `out`."""
        corrections = None
        if layer.up is not None:
            assert layer.down is not None, "what leads up is led down to"
            low = F.linear(y, layer.down).mul_(masks.mask(layer.rank))
            corrections = F.linear(low, layer.up)
        y = F.linear(y, layer.weight, layer.bias)
        self._kernels.add_norm(x, y, corrections, norm, out)


@dataclass(frozen=True, slots=True)
class LayerInput:
    """What qkv or fc1 reads: hidden states (T, D) and, of a stack, R columns beside them, with the
    mask (T, R) of their adapters. All blocks use the same memory."""

    both: Tensor
    hidden: Tensor
    columns: Tensor
    mask: Tensor | None

    @staticmethod
    def empty(tokens: int, layer: LinearTensors, masks: AdapterMasks, like: Tensor) -> "LayerInput":
        """Memory for that layer of any block."""
        both = like.new_empty(tokens, layer.weight.shape[1])
        hidden, columns = both.tensor_split([like.shape[1]], 1)
        mask = masks.mask(layer.rank) if layer.rank else None
        return LayerInput(both, hidden, columns, mask)

    def filled(self, layer: LinearTensors) -> Tensor:
        """The input of a layer, once its hidden states are written, (T, D + R)."""
        if self.mask is not None:
            assert layer.down is not None, "columns of a stack are led down to"
            torch.mul(F.linear(self.hidden, layer.down), self.mask, out=self.columns)
        return self.both
