"""GPU encoder: an encoder's functions (gpu_functions.py) and weights on a GPU.

- One adapter: for each adapter there is a copy of the blocks' weights, weight + b @ a. From one
  attention to the next there are 7 kernels (Encoder.forward: 30).
- Several adapters, or no memory for the copies: the stacked corrections of lora.py, with 15
  kernels. Products grouped by adapter (torch.nn.functional.grouped_mm) are slower than these for
  all batches of 16 to 16,384 tokens (tests/bench/README.md).

The functions are compiled once, for all numbers of tokens and rows, and all blocks run through
them. T tokens, D hidden.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from model.attention import VarlenAttend
from model.cpus import usable_cpus
from model.encoder import Block, Encoder
from model.gpu_functions import BlockWeights, EmbeddingWeights, Functions, Norm, functions
from model.packing import PackedBatch
from model.rows import NO_ADAPTER


def _weights(block: Block, adapter: int) -> BlockWeights:
    qkv, out, fc1, fc2 = (
        layer.tensors() if adapter == NO_ADAPTER else layer.merged_tensors(adapter)
        for layer in block.linears()
    )
    norm1, norm2 = (Norm(norm.weight, norm.bias) for norm in (block.norm1, block.norm2))
    return BlockWeights(qkv, out, fc1, fc2, norm1, norm2)


def _embedding_weights(encoder: Encoder) -> EmbeddingWeights:
    embedding = encoder.embedding
    word, a, b, token_type = embedding.word, embedding.a, embedding.b, embedding.token_type
    row_adapters = torch.arange(len(b), device=b.device) // a.shape[2]
    norm = Norm(encoder.norm.weight, encoder.norm.bias)
    return EmbeddingWeights(word, a, b, token_type, row_adapters, norm, encoder.rotary.frequencies)


def _tensors(weights: object) -> Iterator[Tensor]:
    """All tensors of nested tuples, lists and dicts."""
    if isinstance(weights, Tensor):
        yield weights
    elif isinstance(weights, dict):
        yield from _tensors(list(weights.values()))
    elif isinstance(weights, tuple | list):
        for each in weights:
            yield from _tensors(each)


def _marking(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, told that all sizes but the number of tokens are the model's."""

    def marking(*arguments: object) -> Any:
        for tensor in _tensors(arguments):
            _mark_static(tensor, *range(1, tensor.ndim))
        return function(*arguments)

    return marking


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
        self._varlen = varlen
        self._embedding = _embedding_weights(encoder)
        self._weights = {NO_ADAPTER: [_weights(block, NO_ADAPTER) for block in self._blocks]}
        self._functions = functions(encoder.config.layer_norm_eps)

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

    def mode(self, batch: PackedBatch) -> int:
        """The weights that a batch is computed with: its only adapter's or NO_ADAPTER."""
        return batch.only_adapter if batch.only_adapter in self._weights else NO_ADAPTER

    def hidden(self, batch: PackedBatch, mode: int) -> Tensor:
        """A batch whose rows have the adapter `mode`, or any with NO_ADAPTER -> (T, D)."""
        blocks, (first, between, last) = self._weights[mode], self._functions
        tokens = batch.token_ids, batch.positions, batch.adapters
        (x, qk, v), inputs = first(tokens, self._embedding, blocks[0])
        for weights, following in zip(blocks, [*blocks[1:], None], strict=True):
            q, k = qk.unbind(1)
            attended = self._varlen(q, k, v, batch.row_starts, batch.longest).flatten(1)
            if following is None:
                x = last(x, attended, weights, inputs)
            else:
                x, qk, v = between(x, attended, weights, following, inputs)
        return x

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
        plain = self._functions
        compiled: list[Callable[..., Any]]
        compiled = [torch.compile(each, dynamic=True, options=options) for each in plain]
        for tensor in _tensors([self._embedding, self._weights]):
            _mark_static(tensor, *range(tensor.ndim))
        try:
            self._functions = Functions(*(_marking(each) for each in compiled))
            for mode in self.modes[:2]:
                self.hidden(example, mode)
            self._functions = Functions(*compiled)
        except Exception:
            self._functions = plain
            raise
        finally:
            shutdown_compile_workers()  # they are processes beside this one
