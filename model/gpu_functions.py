"""GPU functions: the encoder's forward pass as functions of tensors, which torch.compile fuses.

They compute what Encoder.forward does, up to rounding, and are cut where attention is. Sizes of the
model are read off tensors: torch.compile would take an int that comes from elsewhere for one that
changes, and divide by it in its kernels.

T tokens, H heads, K = D / H, D hidden, R columns of a stack of adapters.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.lora import LinearTensors


class Norm(NamedTuple):
    """A layer norm: weight and bias (D,)."""

    weight: Tensor
    bias: Tensor


class BlockWeights(NamedTuple):
    """The linear layers of a block and its norms."""

    qkv: LinearTensors
    out: LinearTensors
    fc1: LinearTensors
    fc2: LinearTensors
    norm1: Norm
    norm2: Norm


class EmbeddingWeights(NamedTuple):
    """AdaptedEmbedding's tensors, the adapter of each row of b (A * r,), the norm after it, and
    Rotary's frequencies (K / 2,)."""

    word: Tensor
    a: Tensor
    b: Tensor
    token_type: Tensor
    row_adapters: Tensor
    norm: Norm
    frequencies: Tensor


class BatchInputs(NamedTuple):
    """What all blocks read of a batch: adapters (T,), and what turns the pairs of q and k, cos
    (T, K / 2, 1) and sin (T, K / 2, 2). Each element of a pair takes the other one times sin, which
    is negative for the first."""

    adapters: Tensor
    cos: Tensor
    sin: Tensor


class AttentionReads(NamedTuple):
    """The hidden states x (T, D) that a block begins with, its q and k, qk (T, 2, H, K), and its
    v (T, H, K)."""

    x: Tensor
    qk: Tensor
    v: Tensor


def masked(low: Tensor, layer: LinearTensors, adapters: Tensor) -> Tensor:
    """The columns low (T, R) of a stack, with zeros but in those of each token's adapter."""
    assert layer.column_adapters is not None, "a stack has the adapters of its columns"
    return low * (layer.column_adapters == adapters[:, None])


def linear(x: Tensor, layer: LinearTensors, adapters: Tensor, *, gelu: bool = False) -> Tensor:
    """x (T, in) -> (T, out), with each token's adapter if the layer has a stack, then GELU."""
    if layer.down is not None:
        x = torch.cat([x, masked(F.linear(x, layer.down), layer, adapters)], 1)
    if gelu:  # with the product; on a GPU in its tanh form, which differs by at most 0.0005
        return torch._addmm_activation(layer.bias, x, layer.weight.t(), use_gelu=True)
    if layer.up is None:
        return F.linear(x, layer.weight, layer.bias)
    y, low = F.linear(x, layer.weight).tensor_split([len(layer.bias)], 1)
    return y + layer.bias + F.linear(masked(low, layer, adapters), layer.up)


def layer_norm(x: Tensor, norm: Norm, eps: float) -> Tensor:
    """x (T, D) -> (T, D)."""
    return F.layer_norm(x, x.shape[1:], norm.weight, norm.bias, eps)


def begin(x: Tensor, weights: BlockWeights, inputs: BatchInputs) -> AttentionReads:
    """A block up to its attention."""
    qkv = linear(x, weights.qkv, inputs.adapters)
    qkv = qkv.unflatten(1, (3, -1, inputs.cos.shape[1], 2))  # (T, 3, H, K / 2, 2)
    pairs = qkv[:, :2]
    turned = pairs * inputs.cos[:, None, None] + pairs.flip(-1) * inputs.sin[:, None, None]
    return AttentionReads(x, turned.to(x.dtype).flatten(-2), qkv[:, 2].flatten(-2))


def end(
    x: Tensor, attended: Tensor, weights: BlockWeights, inputs: BatchInputs, eps: float
) -> Tensor:
    """A block from its attention's result (T, D) on -> (T, D)."""
    x = layer_norm(x + linear(attended, weights.out, inputs.adapters), weights.norm1, eps)
    y = linear(x, weights.fc1, inputs.adapters, gelu=True)
    return layer_norm(x + linear(y, weights.fc2, inputs.adapters), weights.norm2, eps)


def embed(
    token_ids: Tensor, positions: Tensor, adapters: Tensor, weights: EmbeddingWeights, eps: float
) -> tuple[Tensor, BatchInputs]:
    """What comes before the blocks, from tensors (T,): hidden states (T, D) and the inputs."""
    _, a, b, token_type, row_adapters, norm, frequencies = weights
    x = F.embedding(token_ids, weights.word)
    x = x + F.embedding(adapters % len(token_type), token_type)
    low = a[adapters.clamp(min=0), token_ids].repeat(1, len(a))
    x = layer_norm(torch.addmm(x, low * (row_adapters == adapters[:, None]), b), norm, eps)
    angles = torch.outer(positions.float(), frequencies)
    sin = angles.sin()
    return x, BatchInputs(adapters, angles.cos()[:, :, None], torch.stack([-sin, sin], -1))


class Functions(NamedTuple):
    """The encoder, cut where attention is: up to that of the first block, between those of two
    blocks, and from the last one on."""

    first: Callable[..., tuple[AttentionReads, BatchInputs]]
    between: Callable[..., AttentionReads]
    last: Callable[..., Tensor]


def functions(eps: float) -> Functions:
    """The functions for norms with that epsilon."""

    def first(
        tokens: tuple[Tensor, Tensor, Tensor], embedding: EmbeddingWeights, weights: BlockWeights
    ) -> tuple[AttentionReads, BatchInputs]:
        x, inputs = embed(*tokens, embedding, eps)
        return begin(x, weights, inputs), inputs

    def between(
        x: Tensor,
        attended: Tensor,
        weights: BlockWeights,
        following: BlockWeights,
        inputs: BatchInputs,
    ) -> AttentionReads:
        return begin(end(x, attended, weights, inputs, eps), following, inputs)

    def last(x: Tensor, attended: Tensor, weights: BlockWeights, inputs: BatchInputs) -> Tensor:
        return end(x, attended, weights, inputs, eps)

    return Functions(first, between, last)
