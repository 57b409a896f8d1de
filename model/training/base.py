"""Converts the base between published tensor names and transformers' JinaEmbeddingsV3Model."""

from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import JinaEmbeddingsV3Config, JinaEmbeddingsV3Model

from model.config import EncoderConfig
from model.training.weights import Weights, modules, norms


def new_base(config: EncoderConfig) -> JinaEmbeddingsV3Model:
    """A base of that shape with transformers' random weights, in float32, without the pooler."""
    return JinaEmbeddingsV3Model(_native_config(config), add_pooling_layer=False)


def base_of(weights: Weights) -> JinaEmbeddingsV3Model:
    """The base of a checkpoint in float32, in evaluation mode, without the pooler."""
    native: dict[str, Tensor] = {}
    for name, parts in _names(weights.config):
        native |= zip(parts, weights.base[name].chunk(len(parts)), strict=True)
    # bandit warns of unpinned downloads, but the weights are given here.
    base: JinaEmbeddingsV3Model = JinaEmbeddingsV3Model.from_pretrained(  # nosec B615
        None,
        config=_native_config(weights.config),
        state_dict=native,
        dtype=torch.float32,
        add_pooling_layer=False,
    )
    return base


def tensors_of(base: JinaEmbeddingsV3Model, config: EncoderConfig) -> dict[str, Tensor]:
    """The tensors of a base, also of one in PEFT's layers, by the names of `Weights.base`."""
    native = {name.replace(".base_layer.", "."): t for name, t in base.state_dict().items()}
    return {name: torch.cat([native[part] for part in parts]) for name, parts in _names(config)}


def _names(config: EncoderConfig) -> Iterator[tuple[str, list[str]]]:
    """Each tensor's published name, and those of its parts (q, k and v) in transformers."""
    for module in modules(config):
        for kind in ("weight",) if module.embedding else ("weight", "bias"):
            yield f"{module.name.base}.{kind}", [f"{part}.{kind}" for part in module.name.peft]
    for name, native in norms(config):
        for kind in ("weight", "bias"):
            yield f"{name}.{kind}", [f"{native}.{kind}"]


def _native_config(config: EncoderConfig) -> JinaEmbeddingsV3Config:
    return JinaEmbeddingsV3Config(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.intermediate_size,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=config.layer_norm_eps,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        rope_parameters={"rope_type": "default", "rope_theta": config.rotary_base},
    )
