"""Checkpoint: the weights of a folder in either published layout -> an Encoder on a device.

n adapters, r rank, V vocabulary, D hidden, I intermediate.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from model.attention import choose_attention
from model.config import CheckpointError, EncoderConfig
from model.encoder import Block, Encoder, Linear, interleaved
from model.int8_linear import Int8AdaptedLinear, check_int8
from model.layouts import Layout, open_layout
from model.linear_kernels import FbgemmLinear, LinearKernels, choose_linear_kernel
from model.lora import AdaptedEmbedding, AdaptedLinear
from model.modules import POOLER, TOKEN_TYPE, WORD, ModuleName, Shape, block_linears
from model.precision import Precision

log = logging.getLogger("quintet.model")


def load_encoder(
    folder: Path,
    config: EncoderConfig,
    device: torch.device,
    precision: Precision,
) -> Encoder:
    """Load base and adapters of `folder` to `device`. Every tensor must be used exactly once.

    Weights are converted one after the other.

    Raises:
        CheckpointError: a tensor is missing, left over, there twice or of another shape; int8
            cannot be computed here; or a weight is out of the range of float16.
    """
    layout = open_layout(folder, config)
    dtype = precision.activations
    kernels = linear_kernels(device, precision)
    linear: type[Linear] = AdaptedLinear
    if precision.weights == "int8":
        widest = (config.intermediate_size, config.hidden_size)
        faster = check_int8(device, dtype, kernels.stacks, widest)
        log.info("int8 products are %.1f times as fast as float ones of %s here", faster, dtype)
        linear = Int8AdaptedLinear
    encoder = _EncoderBuilder(layout, config, device, precision, kernels, linear).encoder()
    layout.refuse_leftovers()
    return encoder.eval()


def linear_kernels(device: torch.device, precision: Precision) -> LinearKernels:
    """The kernels of an encoder of that precision."""
    kernel = choose_linear_kernel(device, precision.activations)
    return LinearKernels(FbgemmLinear if precision.halves_weights else kernel, kernel)


@dataclass(frozen=True, slots=True)
class _EncoderBuilder:
    """Builds the encoder's modules from a layout's tensors."""

    layout: Layout
    config: EncoderConfig
    device: torch.device
    precision: Precision
    kernels: LinearKernels
    linear: type[Linear]

    def encoder(self) -> Encoder:
        self._skip_pooler()
        return Encoder(
            self.config,
            self._embedding(),
            self._norm("emb_ln"),
            [self._block(f"layers.{layer}") for layer in range(self.config.num_layers)],
            choose_attention(self.device, self.precision.activations),
        )

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.precision.activations).contiguous()

    def _embedding(self) -> AdaptedEmbedding:
        width = self.config.hidden_size
        word = self.layout.weight(WORD, (self.config.vocab_size, width))
        lora = self.layout.embedding_lora(WORD, (self.config.vocab_size, width))
        return AdaptedEmbedding(
            word=self._word_table(word),
            a=self._to_device(lora.a),
            b=self._to_device(self._scaled(lora.b).flatten(0, 1)),
            token_type=self._to_device(self._token_type()),
        )

    def _word_table(self, word: Tensor) -> Tensor:
        """On a CPU beside float32 it keeps the file's dtype, where torch can add that: so it stays
        in the file until words are looked up."""
        stored = self.precision.activations
        if stored == torch.float32 and self.device.type == "cpu":
            kept = {each: each for each in (torch.bfloat16, torch.float16)}
            stored = {torch.float8_e4m3fn: torch.bfloat16, **kept}.get(word.dtype, stored)
        return word.to(self.device, stored).contiguous()

    def _token_type(self) -> Tensor:
        """The token type's row with each adapter's correction, and last without: (n + 1, D)."""
        shape = (1, self.config.hidden_size)
        base = self.layout.weight(TOKEN_TYPE, shape).float()
        lora = self.layout.embedding_lora(TOKEN_TYPE, shape)
        corrections = (lora.a.float() @ self._scaled(lora.b)).flatten(0, 1)
        return torch.cat([base + corrections, base])

    def _block(self, name: str) -> Block:
        linears = {
            linear: self._linear(linear, full, shape)
            for linear, full, shape in block_linears(name, self.config)
        }
        norms = {norm: self._norm(f"encoder.{name}.{norm}") for norm in ("norm1", "norm2")}
        return Block(linears, norms)

    def _linear(self, linear: str, name: ModuleName, shape: Shape) -> Linear:
        lora = self.layout.lora(name, shape)
        weight = self.layout.weight(name, shape)
        bias = self.layout.plain(f"{name.base}.bias", shape[0])
        b = self._scaled(lora.b)
        if linear == "qkv":
            weight, bias = interleaved(weight, self.config), interleaved(bias, self.config)
            b = interleaved(b.transpose(0, 1), self.config).transpose(0, 1)
        try:
            return self.linear(
                self.kernels,
                self._to_device(weight),
                self._to_device(bias),
                (self._to_device(lora.a), self._to_device(b)),
                gelu=linear == "fc1",
            )
        except OverflowError as error:
            raise CheckpointError(f"{name.base}: {error}; choose float32 or bfloat16.") from None

    def _scaled(self, b: Tensor) -> Tensor:
        return b.float() * self.layout.scale

    def _norm(self, name: str) -> nn.LayerNorm:
        norm = nn.LayerNorm(self.config.hidden_size, self.config.layer_norm_eps, device="meta")
        for part in ("weight", "bias"):
            tensor = self._to_device(self.layout.plain(f"{name}.{part}", self.config.hidden_size))
            setattr(norm, part, nn.Parameter(tensor, requires_grad=False))
        return norm

    def _skip_pooler(self) -> None:
        """The published tanh pooler plays no part in embeddings: its tensors are left out."""
        if self.layout.has(POOLER):
            shape = (self.config.hidden_size, self.config.hidden_size)
            self.layout.weight(POOLER, shape)
            self.layout.plain(f"{POOLER.base}.bias", shape[0])
            self.layout.lora(POOLER, shape)
