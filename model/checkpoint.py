"""Checkpoint: the weights of a folder in either published layout -> an Encoder on a device.

n adapters, r rank, V vocabulary, D hidden, I intermediate.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from model.attention import choose_attention
from model.config import EncoderConfig
from model.encoder import Block, Encoder, Linear, interleaved
from model.int8_linear import Int8AdaptedLinear, check_int8
from model.layouts import Layout, open_layout
from model.linear_kernels import LinearKernel, choose_linear_kernel
from model.lora import AdaptedEmbedding, AdaptedLinear
from model.modules import POOLER, TOKEN_TYPE, WORD, ModuleName, Shape, block_linears

log = logging.getLogger("quintet.model")


def load_encoder(
    folder: Path,
    config: EncoderConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    int8: bool = False,
) -> Encoder:
    """Load base and adapters of `folder` to `device`. Every tensor must be used exactly once.

    With `int8` the blocks' weights are quantised one after the other, and `dtype` is that of
    everything else but the word table, which is bfloat16.

    Raises:
        CheckpointError: a tensor is missing, left over, there twice or of another shape; or int8
            cannot be computed here.
    """
    layout = open_layout(folder, config)
    kernel = choose_linear_kernel(device, dtype)
    linear: type[Linear] = AdaptedLinear
    if int8:
        widest = (config.intermediate_size, config.hidden_size)
        faster = check_int8(device, dtype, kernel, widest)
        log.info("int8 products are %.1f times as fast as float ones of %s here", faster, dtype)
        linear = Int8AdaptedLinear
    encoder = _EncoderBuilder(layout, config, device, dtype, kernel, linear).encoder()
    layout.refuse_leftovers()
    return encoder.eval()


@dataclass(frozen=True, slots=True)
class _EncoderBuilder:
    """Builds the encoder's modules from a layout's tensors."""

    layout: Layout
    config: EncoderConfig
    device: torch.device
    dtype: torch.dtype
    kernel: type[LinearKernel]
    linear: type[Linear]

    def encoder(self) -> Encoder:
        self._skip_pooler()
        return Encoder(
            self.config,
            self._embedding(),
            self._norm("emb_ln"),
            [self._block(f"layers.{layer}") for layer in range(self.config.num_layers)],
            choose_attention(self.device, self.dtype),
        )

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype).contiguous()

    def _embedding(self) -> AdaptedEmbedding:
        width = self.config.hidden_size
        word = self.layout.weight(WORD, (self.config.vocab_size, width))
        lora = self.layout.embedding_lora(WORD, (self.config.vocab_size, width))
        stored = torch.bfloat16 if self.linear is Int8AdaptedLinear else self.dtype
        return AdaptedEmbedding(
            word=word.to(self.device, stored).contiguous(),
            a=self._to_device(lora.a),
            b=self._to_device(self._scaled(lora.b).flatten(0, 1)),
            token_type=self._to_device(self._token_type()),
        )

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
        return self.linear(
            self.kernel,
            self._to_device(weight),
            self._to_device(bias),
            (self._to_device(lora.a), self._to_device(b)),
            gelu=linear == "fc1",
        )

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
