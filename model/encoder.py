"""The encoder in reading order: embeddings, then blocks of attention and MLP, post-norm.

T tokens, H heads, K = D / H, D hidden, A adapters.

XLM-RoBERTa (https://arxiv.org/abs/1911.02116) with rotary positions
(https://arxiv.org/abs/2104.09864) and adapters on every projection, as jina-embeddings-v3
(https://arxiv.org/abs/2409.10173) has it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.attention import Attention
from model.config import EncoderConfig
from model.lora import AdaptedEmbedding, AdaptedLinear, adapter_mask
from model.packing import PackedBatch


class Rotary:
    """Rotary position embedding, halves paired (NeoX), over whole heads.

    The angle of pair j at position p is p * base ** (-2j / K), computed in float32.
    """

    def __init__(self, config: EncoderConfig, device: torch.device) -> None:
        exponents = torch.arange(0, config.head_size, 2, device=device).float() / config.head_size
        self.frequencies = 1.0 / config.rotary_base**exponents  # (K / 2,)

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (T, 1, K) of positions (T,)."""
        angles = torch.outer(positions.float(), self.frequencies).repeat(1, 2).unsqueeze(1)
        return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x (T, H, K) by its tokens' angles."""
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)


class Block(nn.Module):
    """x = norm1(x + attention(x)); x = norm2(x + mlp(x))."""

    def __init__(self, linears: dict[str, AdaptedLinear], norms: dict[str, nn.LayerNorm]) -> None:
        super().__init__()
        self.qkv = linears["qkv"]
        self.out = linears["out"]
        self.fc1 = linears["fc1"]
        self.fc2 = linears["fc2"]
        self.norm1 = norms["norm1"]
        self.norm2 = norms["norm2"]

    def forward(self, x: Tensor, turn: "Turn", mask: Tensor | None) -> Tensor:
        """x (T, D), mask (T, A) or None -> (T, D)."""
        x = self.norm1(x + self.out(turn.attend(self.qkv(x, mask)), mask))
        return self.norm2(x + self.fc2(F.gelu(self.fc1(x, mask)), mask))  # type: ignore[no-any-return]


class Turn:
    """What attention needs to know of one batch, shared by all blocks."""

    def __init__(
        self, batch: PackedBatch, heads: int, angles: tuple[Tensor, Tensor], attention: Attention
    ) -> None:
        self._batch = batch
        self._heads = heads
        self._angles = angles
        self._attention = attention

    def attend(self, qkv: Tensor) -> Tensor:
        """qkv (T, 3 * D) -> attended values (T, D)."""
        q, k, v = qkv.unflatten(1, (3, self._heads, -1)).unbind(1)  # each (T, H, K)
        q, k = rotate(q, *self._angles), rotate(k, *self._angles)
        return self._attention.attend(q, k, v, self._batch).flatten(1)


class Encoder(nn.Module):
    """Token ids -> hidden states, for any mixture of adapters in one pass."""

    def __init__(
        self,
        config: EncoderConfig,
        embedding: AdaptedEmbedding,
        norm: nn.LayerNorm,
        blocks: list[Block],
        attention: Attention,
    ) -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        self.embedding = embedding
        self.norm = norm
        self.blocks = nn.ModuleList(blocks)
        self.rotary = Rotary(config, embedding.word.device)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A packed batch of T tokens -> hidden states (T, D) in the dtype of the weights."""
        mask = adapter_mask(batch, len(self.config.tasks), self.embedding.word.dtype)
        angles = self.rotary.angles(batch.positions)
        turn = Turn(batch, self.config.num_heads, angles, self.attention)
        x = self.norm(self.embedding(batch, mask))
        for block in self.blocks:
            x = block(x, turn, mask)
        assert isinstance(x, Tensor)
        return x
