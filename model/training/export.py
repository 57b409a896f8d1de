"""Writes a checkpoint in either published layout, which model.layouts reads.

config.json is written last: a folder without it is not a checkpoint yet.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.config import CheckpointError, EncoderConfig
from model.modules import adapter_folder
from model.training.weights import AdaptedModule, LoraPair, Weights, modules, pooler, split_lora

# As in the adapter_config.json of jina-embeddings-v3-hf.
_PEFT_TARGETS = [
    *("word_embeddings", "token_type_embeddings"),
    *("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2", "dense"),
]
# safetensors makes files that only their owner can read; a service often runs as another user.
_READABLE = 0o644


def write_hf(folder: Path, weights: Weights, tokenizer: Path) -> None:
    """Write the -hf layout: the base, and a PEFT folder for each task.

    Tensors keep their dtype. `tokenizer` is the tokenizer.json to copy.
    """
    config, weights = weights.config, _with_pooler(weights)
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder / "model.safetensors", dict(weights.base))
    for task in config.tasks:
        adapter = folder / adapter_folder(task)
        adapter.mkdir(exist_ok=True)
        _save(adapter / "adapter_model.safetensors", _peft_tensors(weights, task))
        _write_json(adapter / "adapter_config.json", _peft_fields(config))
    layout_fields = {
        "architectures": ["JinaEmbeddingsV3Model"],
        "model_type": "jina_embeddings_v3",
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rotary_base},
    }
    _finish(folder, {**weights.fields, **layout_fields}, tokenizer)


def write_original(folder: Path, weights: Weights, tokenizer: Path) -> None:
    """Write the layout of jina-embeddings-v3: one file with the base and all adapters, stacked.

    Raises:
        CheckpointError: an adapter has another A for each of q, k and v, which this layout cannot
            express.
    """
    config, weights = weights.config, _with_pooler(weights)
    folder.mkdir(parents=True, exist_ok=True)
    adapted = {module.name.base: module for module in [*modules(config), pooler(config)]}
    tensors: dict[str, Tensor] = {}
    for name, tensor in weights.base.items():
        module, _, kind = name.rpartition(".")
        if module in adapted and kind == "weight":
            key = f"roberta.{module}.parametrizations.weight"
            tensors[f"{key}.original"] = tensor
            lora = [_with_one_a(weights, task, adapted[module]) for task in config.tasks]
            tensors[f"{key}.0.lora_A"] = torch.stack([each.a for each in lora])
            tensors[f"{key}.0.lora_B"] = torch.stack([each.b for each in lora])
        else:
            tensors[f"roberta.{name}"] = tensor
    _save(folder / "model.safetensors", tensors)
    fields = {name: value for name, value in weights.fields.items() if name != "rope_parameters"}
    layout_fields = {
        "architectures": ["XLMRobertaModel"],
        "position_embedding_type": "rotary",
        "rotary_emb_base": config.rotary_base,
    }
    _finish(folder, {**fields, **layout_fields}, tokenizer)


def cast(weights: Weights, dtype: torch.dtype) -> Weights:
    """The same weights in another dtype."""
    return Weights(
        {**weights.fields, "torch_dtype": str(dtype).removeprefix("torch.")},
        {name: tensor.to(dtype) for name, tensor in weights.base.items()},
        {
            task: {
                name: LoraPair(each.a.to(dtype), each.b.to(dtype)) for name, each in adapter.items()
            }
            for task, adapter in weights.adapters.items()
        },
    )


def _with_pooler(weights: Weights) -> Weights:
    """Weights with the pooler that both layouts have: an identity without adapters where there is
    none. Embeddings do not use it."""
    module = pooler(weights.config)
    name, width, rank = module.name.base, module.shape[0], weights.config.lora_rank
    assert rank, "the rank is known once weights are read"
    dtype = weights.base["emb_ln.bias"].dtype  # matrices may be in float8
    base = {
        f"{name}.weight": torch.eye(width, dtype=dtype),
        f"{name}.bias": torch.zeros(width, dtype=dtype),
        **weights.base,
    }
    zero = LoraPair(torch.zeros(rank, width, dtype=dtype), torch.zeros(width, rank, dtype=dtype))
    adapters = {task: {name: zero, **adapter} for task, adapter in weights.adapters.items()}
    return Weights(weights.fields, base, adapters)


def _peft_tensors(weights: Weights, task: str) -> dict[str, Tensor]:
    config = weights.config
    tensors: dict[str, Tensor] = {}
    assert config.lora_rank, "the rank is known once weights are read"
    for module in [*modules(config), pooler(config)]:
        parts = split_lora(module, weights.adapters[task][module.name.base], config.lora_rank)
        for part, lora in zip(module.name.peft, parts, strict=True):
            key = f"base_model.model.{part}.lora_"
            if module.embedding:  # PEFT keeps both matrices of an embedding transposed
                tensors |= {f"{key}embedding_A": lora.a.mT, f"{key}embedding_B": lora.b.mT}
            else:
                tensors |= {f"{key}A.weight": lora.a, f"{key}B.weight": lora.b}
    return tensors


def _peft_fields(config: EncoderConfig) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "r": config.lora_rank,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": 0.0,
        "target_modules": _PEFT_TARGETS,
    }


def _with_one_a(weights: Weights, task: str, module: AdaptedModule) -> LoraPair:
    """A module's LoRA matrices, if they are of the config's rank.

    Raises:
        CheckpointError: q, k and v have an A each.
    """
    lora, rank = weights.adapters[task][module.name.base], weights.config.lora_rank
    if len(lora.b if module.embedding else lora.a) != rank:
        raise CheckpointError(
            f"in the adapter of {task}, q, k and v have an A each; the original layout has one "
            "for all three. Write the -hf layout."
        )
    return lora


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write copies, as safetensors refuses tensors that share memory."""
    copies = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    save_file(copies, path, metadata={"format": "pt"})
    path.chmod(_READABLE)


def _write_json(path: Path, fields: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _finish(folder: Path, fields: Mapping[str, Any], tokenizer: Path) -> None:
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    kept = {name: value for name, value in fields.items() if name != "auto_map"}
    _write_json(folder / "config.json", kept)
