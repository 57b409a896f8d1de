"""The encoder in reading order: embeddings, then blocks of attention and MLP, post-norm.

T tokens, H heads, K = D / H, D hidden, A adapters.

XLM-RoBERTa (https://arxiv.org/abs/1911.02116) with rotary positions
(https://arxiv.org/abs/2104.09864) and adapters on every projection, as jina-embeddings-v3
(https://arxiv.org/abs/2409.10173) has it.
"""

import logging
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from model.attention import Attention
from model.config import EncoderConfig
from model.lora import AdaptedEmbedding, AdaptedLinear, AdapterMasks
from model.packing import NO_ADAPTER, PackedBatch

log = logging.getLogger("quintet.model")

# On a CPU so many tokens are turned at a time: their float32 numbers stay in its caches.
_TURNED_AT_A_TIME = 256


class Rotary:
    """Rotary position embedding over whole heads.

    The angle of pair j at position p is p * base ** (-2j / K), computed in float32. The model pairs
    element j of a head with element j + K / 2 (as NeoX does); here the two are neighbours, since
    `interleaved` has moved the rows of q's and k's weights at loading, so that a pair is a complex
    number. Attention sees only products of q and k and does not know the difference.
    """

    def __init__(self, config: EncoderConfig, device: torch.device) -> None:
        exponents = torch.arange(0, config.head_size, 2, device=device).float() / config.head_size
        self.frequencies = 1.0 / config.rotary_base**exponents  # (K / 2,)

    def turns(self, positions: Tensor) -> Tensor:
        """The complex numbers (T, 1, 1, K / 2) by which pairs at `positions` (T,) are turned."""
        angles = torch.outer(positions.float(), self.frequencies)
        return torch.polar(torch.ones_like(angles), angles)[:, None, None]


def interleaved(rows: Tensor, config: EncoderConfig) -> Tensor:
    """Rows (3 * D, ...) of the layer that gives q, k, v, with the pairs of q and k neighbours."""
    heads = rows.unflatten(0, (3, config.num_heads, 2, -1))
    pairs = heads[:2].transpose(2, 3).flatten(0, 3)
    return torch.cat([pairs, heads[2].flatten(0, 2)])


def as_published(rows: Tensor, config: EncoderConfig) -> Tensor:
    """What `interleaved` was given."""
    pairs = rows.unflatten(0, (3, config.num_heads, -1, 2))
    halves = pairs[:2].transpose(2, 3).flatten(0, 3)
    return torch.cat([halves, pairs[2].flatten(0, 2)])


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the pairs of x (T, 2, H, K) in float32, by complex numbers (T, 1, 1, K / 2)."""
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    at_a_time = _TURNED_AT_A_TIME if x.device.type == "cpu" else len(x)
    for start in range(0, len(x), at_a_time):
        part = slice(start, start + at_a_time)
        pairs = torch.view_as_complex(x[part].float().unflatten(-1, (-1, 2)))
        out[part] = torch.view_as_real(pairs * turns[part]).flatten(-2)
    return out


class Block(nn.Module):
    """x = norm1(x + attention(x)); x = norm2(x + mlp(x)). GELU and sums are in the products."""

    def __init__(self, linears: dict[str, AdaptedLinear], norms: dict[str, nn.LayerNorm]) -> None:
        super().__init__()
        self.qkv = linears["qkv"]
        self.out = linears["out"]
        self.fc1 = linears["fc1"]
        self.fc2 = linears["fc2"]
        self.norm1 = norms["norm1"]
        self.norm2 = norms["norm2"]

    def forward(
        self, x: Tensor, turn: "AttentionInputs", corrections: AdapterMasks | None
    ) -> Tensor:
        """x (T, D) -> (T, D)."""
        attended = turn.attend(self.qkv(x, corrections))
        x = self.norm1(self.out(attended, corrections, residual=x))
        return self.norm2(self.fc2(self.fc1(x, corrections), corrections, residual=x))  # type: ignore[no-any-return]


class AttentionInputs:
    """What attention needs to know of one batch, shared by all blocks."""

    def __init__(self, batch: PackedBatch, heads: int, turns: Tensor, attention: Attention) -> None:
        self._batch = batch
        self._heads = heads
        self._turns = turns
        self._attention = attention

    def attend(self, qkv: Tensor) -> Tensor:
        """qkv (T, 3 * D) -> attended values (T, D)."""
        qkv = qkv.unflatten(1, (3, self._heads, -1))
        q, k = rotate(qkv[:, :2], self._turns).unbind(1)  # each (T, H, K)
        return self._attention.attend(q, k, qkv[:, 2], self._batch).flatten(1)


class Merging:
    """When merged weights pay on a CPU: once many tokens in a row had one and the same adapter.

    They save 5 to 8 % of a batch's time and cost a second copy of the blocks' weights and, at
    each change of the adapter, the time of some hundred tokens (tests/bench/README.md).
    """

    def __init__(self, after_tokens: int = 16_384) -> None:
        self._after_tokens = after_tokens
        self._adapter = NO_ADAPTER  # that the last batches had alone
        self._tokens = 0  # of these

    def pays(self, batch: PackedBatch) -> bool:
        """Whether the batch goes on a long run of one adapter."""
        same = batch.only_adapter == self._adapter
        self._adapter = batch.only_adapter
        self._tokens = len(batch.token_ids) + (self._tokens if same else 0)
        return self._adapter != NO_ADAPTER and self._tokens >= self._after_tokens


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
        self._merged = NO_ADAPTER
        self._merging = Merging() if embedding.word.device.type == "cpu" else None

    @property
    def num_parameters(self) -> int:
        """How many numbers base and adapters have together."""
        norms = sum(
            vector.numel()
            for module in self.modules()
            if isinstance(module, nn.LayerNorm)
            for vector in module.parameters()
        )
        adapted = (AdaptedEmbedding, AdaptedLinear)
        return norms + sum(
            each.num_parameters for each in self.modules() if isinstance(each, adapted)
        )

    def forward(self, batch: PackedBatch) -> Tensor:
        """A packed batch of T tokens -> hidden states (T, D) in the dtype of the weights."""
        corrections = self._corrections(batch)
        turns = self.rotary.turns(batch.positions)
        turn = AttentionInputs(batch, self.config.num_heads, turns, self.attention)
        x = self.norm(self.embedding(batch, corrections))
        for block in self.blocks:
            x = block(x, turn, corrections)
        assert isinstance(x, Tensor)
        return x

    def merge(self, adapter: int) -> None:
        """Have weights merged for batches with this adapter alone, in place of an earlier one's."""
        self._merged = NO_ADAPTER
        for linear in self._linears():
            linear.merge(adapter)
        self._merged = adapter

    def _linears(self) -> Iterator[AdaptedLinear]:
        return (each for each in self.modules() if isinstance(each, AdaptedLinear))

    def _merge_if_there_is_room(self, adapter: int) -> None:
        """Merge, or never try again: batches are right without, and need the memory more."""
        try:
            self.merge(adapter)
        except (RuntimeError, MemoryError) as error:
            log.warning("weights are not merged, so long runs of a task are slower: %s", error)
        else:
            return
        for linear in self._linears():
            linear.forget_merged()
        self._merging = None

    def _corrections(self, batch: PackedBatch) -> AdapterMasks | None:
        pays = self._merging is not None and self._merging.pays(batch)
        only = batch.only_adapter
        if pays and only != self._merged:
            self._merge_if_there_is_room(only)
        if not batch.has_adapters:
            return None
        tasks, dtype = len(self.config.tasks), self.embedding.word.dtype
        return AdapterMasks(batch, tasks, dtype, merged=only == self._merged != NO_ADAPTER)
