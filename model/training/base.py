"""The base as transformers has it, and its tensors by their published names."""

import torch
from torch import Tensor
from transformers import JinaEmbeddingsV3Config, JinaEmbeddingsV3Model

from model.config import EncoderConfig
from model.training.weights import Module, Weights, modules, norms


def new_base(config: EncoderConfig, dropout: float = 0.0) -> JinaEmbeddingsV3Model:
    """A base of that shape with transformers' random weights, in float32, without the pooler."""
    return JinaEmbeddingsV3Model(_native_config(config, dropout), add_pooling_layer=False)


def base_of(weights: Weights, dropout: float = 0.0) -> JinaEmbeddingsV3Model:
    """The base of a checkpoint in float32, in evaluation mode, without the pooler."""
    config = weights.config
    native: dict[str, Tensor] = {}
    for module in modules(config):
        for kind in _kinds(module):
            whole = weights.base[f"{module.name.base}.{kind}"]
            parts = whole.chunk(len(module.name.peft))
            for part, tensor in zip(module.name.peft, parts, strict=True):
                native[f"{part}.{kind}"] = tensor
    for name, own in norms(config):
        for kind in ("weight", "bias"):
            native[f"{own}.{kind}"] = weights.base[f"{name}.{kind}"]
    # Nothing is downloaded, whatever bandit thinks of the name.
    base: JinaEmbeddingsV3Model = JinaEmbeddingsV3Model.from_pretrained(  # nosec B615
        None,
        config=_native_config(config, dropout),
        state_dict=native,
        dtype=torch.float32,
        add_pooling_layer=False,
    )
    return base


def tensors_of(base: JinaEmbeddingsV3Model, config: EncoderConfig) -> dict[str, Tensor]:
    """The tensors of a base by the names that `Weights.base` has, also after PEFT took it."""
    native = {name.replace(".base_layer.", "."): t for name, t in base.state_dict().items()}
    tensors: dict[str, Tensor] = {}
    for module in modules(config):
        for kind in _kinds(module):
            parts = [native[f"{part}.{kind}"] for part in module.name.peft]
            tensors[f"{module.name.base}.{kind}"] = torch.cat(parts)
    for name, own in norms(config):
        for kind in ("weight", "bias"):
            tensors[f"{name}.{kind}"] = native[f"{own}.{kind}"]
    return tensors


def _kinds(module: Module) -> tuple[str, ...]:
    return ("weight",) if module.embedding else ("weight", "bias")


def _native_config(config: EncoderConfig, dropout: float) -> JinaEmbeddingsV3Config:
    return JinaEmbeddingsV3Config(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.intermediate_size,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        layer_norm_eps=config.layer_norm_eps,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        rope_parameters={"rope_type": "default", "rope_theta": config.rotary_base},
    )
