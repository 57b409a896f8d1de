"""All tensors of a checkpoint in memory, whichever layout they are read from or written to.

r rank, V vocabulary, D hidden.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.config import EncoderConfig, checked_config, read_config
from model.layouts import open_layout
from model.modules import POOLER, TOKEN_TYPE, WORD, ModuleName, block_linears

# The norms: their names in the base files -> in transformers' JinaEmbeddingsV3Model.
_NORMS = {"norm1": "post_attention_layernorm", "norm2": "post_mlp_layernorm"}
_EMBEDDINGS = (WORD, TOKEN_TYPE)


@dataclass(frozen=True, slots=True)
class LoraPair:
    """The LoRA matrices of one module for one task. They add to its weight alpha / rank times

    b @ a for a linear layer, a (r, in), b (out, r);
    a @ b for an embedding, a (V, r), b (r, D).
    """

    a: Tensor
    b: Tensor


@dataclass(frozen=True, slots=True)
class AdaptedModule:
    """A module that adapters change. Its weight has `shape`: (out, in), or a table (V, D)."""

    name: ModuleName
    shape: tuple[int, int]

    @property
    def embedding(self) -> bool:
        return self.name in _EMBEDDINGS


# The LoRA matrices of one task, by the module's name in the base files.
Adapter = Mapping[str, LoraPair]


@dataclass(frozen=True, slots=True)
class Weights:
    """A checkpoint in memory.

    `fields` is config.json. `base` has every tensor by its name in the -hf layout's
    model.safetensors, without `roberta.`; `adapters` the adapter of each task.
    """

    fields: Mapping[str, Any]
    base: Mapping[str, Tensor]
    adapters: Mapping[str, Adapter]

    @property
    def config(self) -> EncoderConfig:
        return checked_config(dict(self.fields))


def modules(config: EncoderConfig) -> list[AdaptedModule]:
    """The modules that adapters change, but for the pooler, which embeddings do not use."""
    width = config.hidden_size
    found = [AdaptedModule(WORD, (config.vocab_size, width)), AdaptedModule(TOKEN_TYPE, (1, width))]
    for layer in range(config.num_layers):
        for _, name, shape in block_linears(f"layers.{layer}", config):
            found.append(AdaptedModule(name, shape))
    return found


def norms(config: EncoderConfig) -> Iterator[tuple[str, str]]:
    """The layer norms: name in the base files, name in JinaEmbeddingsV3Model."""
    yield "emb_ln", "embeddings.LayerNorm"
    for layer in range(config.num_layers):
        for name, native in _NORMS.items():
            yield f"encoder.layers.{layer}.{name}", f"layers.{layer}.{native}"


def pooler(config: EncoderConfig) -> AdaptedModule:
    """The published pooler, which embeddings do not use."""
    return AdaptedModule(POOLER, (config.hidden_size, config.hidden_size))


def read(folder: Path) -> Weights:
    """Read a checkpoint in either layout, every tensor once.

    Raises:
        CheckpointError: it is not a checkpoint of this architecture; the sentence says why.
    """
    config = read_config(folder)
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    layout = open_layout(folder, config)
    base: dict[str, Tensor] = {}
    adapters: dict[str, dict[str, LoraPair]] = {task: {} for task in config.tasks}
    every = modules(config) + ([pooler(config)] if layout.has(POOLER) else [])
    for module in every:
        name = module.name.base
        base[f"{name}.weight"] = layout.weight(module.name, module.shape)
        if not module.embedding:
            base[f"{name}.bias"] = layout.plain(f"{name}.bias", module.shape[0])
        read_lora = layout.embedding_lora if module.embedding else layout.lora
        lora = read_lora(module.name, module.shape)
        for task, a, b in zip(config.tasks, lora.a, lora.b, strict=True):
            adapters[task][name] = LoraPair(a, b)
    for name, _ in norms(config):
        for part in ("weight", "bias"):
            base[f"{name}.{part}"] = layout.plain(f"{name}.{part}", config.hidden_size)
    layout.refuse_leftovers()
    # An -hf checkpoint may have rank and alpha in its adapters' files only.
    lora_fields = {"lora_rank": layout.rank, "lora_alpha": layout.scale * layout.rank}
    return Weights({**lora_fields, **fields}, base, adapters)


def split_lora(module: AdaptedModule, lora: LoraPair, rank: int) -> list[LoraPair]:
    """The LoRA matrices of a module's parts in JinaEmbeddingsV3Model: of q, k and v for Wqkv.

    The parts share one A in the published adapters. Where each has another A, the rank of the whole
    is the sum of theirs, A is stacked and B is block-diagonal.
    """
    parts = len(module.name.peft)
    if parts == 1:
        return [lora]
    bs = lora.b.chunk(parts)
    if len(lora.a) == rank:
        return [LoraPair(lora.a, b) for b in bs]
    return [
        LoraPair(a, b[:, index * rank : (index + 1) * rank])
        for index, (a, b) in enumerate(zip(lora.a.chunk(parts), bs, strict=True))
    ]


def join_lora(parts: list[LoraPair]) -> LoraPair:
    """The inverse of `split_lora`."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if all(torch.equal(each.a, first.a) for each in parts):
        return LoraPair(first.a, torch.cat([each.b for each in parts]))
    return LoraPair(
        torch.cat([each.a for each in parts]),
        torch.block_diag(*(each.b for each in parts)),
    )
