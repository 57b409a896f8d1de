"""Random checkpoints in both published layouts, small ones and the full-size one.

    python -m tests.checkpoints FOLDER        # a full-size random checkpoint, 1.1 GB in bfloat16

The tensors are drawn once in the original layout; the -hf layout is derived from them, so that one
set of numbers exists in two spellings. This file shares no code with model/: it is part of the
judge.
"""

import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

MINI = Path(__file__).parent.parent / "model" / "mini"
TASKS = {
    "retrieval.query": "Represent the query for retrieving evidence documents: ",
    "retrieval.passage": "Represent the document for retrieval: ",
    "separation": "",
    "classification": "",
    "text-matching": "",
}
WEIGHT = ".parametrizations.weight.original"
LORA_A = ".parametrizations.weight.0.lora_A"
LORA_B = ".parametrizations.weight.0.lora_B"


@dataclass(frozen=True)
class Shape:
    """The shape of a random checkpoint. The word table fits the embedded model's tokenizer."""

    layers: int = 2
    width: int = 64
    heads: int = 4
    inner: int = 128
    vocabulary: int = 55000
    rank: int = 4
    alpha: int = 1
    rotary_base: float = 20000.0
    tasks: tuple[str, ...] = tuple(TASKS)
    dtype: torch.dtype = torch.float32
    seed: int = 0

    def config(self) -> dict[str, Any]:
        """A config.json in the published form."""
        return {
            "architectures": ["XLMRobertaModel"],
            "model_type": "jina_embeddings_v3",
            "position_embedding_type": "rotary",
            "hidden_act": "gelu",
            "emb_pooler": None,
            "truncate_dim": None,
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.inner,
            "layer_norm_eps": 1e-5,
            "rotary_emb_base": self.rotary_base,
            "max_position_embeddings": 8194,
            "type_vocab_size": 1,
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "lora_adaptations": list(self.tasks),
            "lora_rank": self.rank,
            "lora_alpha": self.alpha,
            "matryoshka_dimensions": [32, 64],
            "task_instructions": {task: TASKS.get(task, "") for task in self.tasks},
        }

    def linears(self) -> dict[str, tuple[int, int]]:
        """Name -> (out, in) of every adapted linear layer, in the original spelling."""
        shapes = {"roberta.pooler.dense": (self.width, self.width)}
        for layer in range(self.layers):
            name = f"roberta.encoder.layers.{layer}."
            shapes[name + "mixer.Wqkv"] = (3 * self.width, self.width)
            shapes[name + "mixer.out_proj"] = (self.width, self.width)
            shapes[name + "mlp.fc1"] = (self.inner, self.width)
            shapes[name + "mlp.fc2"] = (self.width, self.inner)
        return shapes


FULL_SIZE = Shape(
    layers=24, width=1024, heads=16, inner=4096, vocabulary=250002, dtype=torch.bfloat16
)


def random_tensors(shape: Shape) -> dict[str, Tensor]:
    """All tensors of the original layout. Adapters weigh about as much as the base."""
    random = torch.Generator().manual_seed(shape.seed)

    def normal(*size: int, std: float) -> Tensor:
        return (torch.randn(size, generator=random) * std).to(shape.dtype)

    tasks, rank, width = len(shape.tasks), shape.rank, shape.width
    tensors = {}
    for name, rows in (("word_embeddings", shape.vocabulary), ("token_type_embeddings", 1)):
        key = f"roberta.embeddings.{name}"
        tensors[key + WEIGHT] = normal(rows, width, std=1.0)
        tensors[key + LORA_A] = normal(tasks, rows, rank, std=1.0)
        tensors[key + LORA_B] = normal(tasks, rank, width, std=rank**0.5 / shape.alpha)
    for name, (out, into) in shape.linears().items():
        tensors[name + WEIGHT] = normal(out, into, std=into**-0.5)
        tensors[name + LORA_A] = normal(tasks, rank, into, std=into**-0.5)
        tensors[name + LORA_B] = normal(tasks, out, rank, std=rank**0.5 / shape.alpha)
        tensors[name + ".bias"] = normal(out, std=0.1)
    norms = ["roberta.emb_ln"] + [
        f"roberta.encoder.layers.{layer}.{norm}"
        for layer in range(shape.layers)
        for norm in ("norm1", "norm2")
    ]
    for name in norms:
        tensors[name + ".weight"] = 1 + normal(width, std=0.1)
        tensors[name + ".bias"] = normal(width, std=0.1)
    return tensors


def write_original(folder: Path, shape: Shape, tensors: dict[str, Tensor] | None = None) -> Path:
    """A checkpoint in the layout of jinaai/jina-embeddings-v3."""
    _write_config(folder, shape)
    tensors = random_tensors(shape) if tensors is None else tensors
    save_file(tensors, folder / "model.safetensors")
    return folder


def write_hf(
    folder: Path,
    shape: Shape,
    tensors: dict[str, Tensor] | None = None,
    *,
    one_a: bool = True,
) -> Path:
    """The same in the layout of jinaai/jina-embeddings-v3-hf.

    With `one_a` false each of q, k and v gets an A of its own, as PEFT trains them.
    """
    _write_config(folder, shape)
    tensors = random_tensors(shape) if tensors is None else tensors
    base = {
        key.removeprefix("roberta.").replace(WEIGHT, ".weight"): tensor
        for key, tensor in tensors.items()
        if not key.endswith((LORA_A, LORA_B))
    }
    save_file(base, folder / "model.safetensors", metadata={"format": "pt"})
    for index, task in enumerate(shape.tasks):
        adapter = folder / task.replace(".", "_").replace("-", "_")
        adapter.mkdir()
        peft = _peft_tensors(shape, tensors, index)
        if not one_a:
            random = torch.Generator().manual_seed(100 + index)
            for key in peft:
                if key.endswith("_proj.lora_A.weight"):
                    peft[key] = torch.randn(peft[key].shape, generator=random) * 0.125
        save_file(peft, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
        (adapter / "adapter_config.json").write_text(json.dumps(_peft_config(shape)))
    return folder


def _write_config(folder: Path, shape: Shape) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(shape.config(), indent=1))
    shutil.copy(MINI / "tokenizer.json", folder / "tokenizer.json")


def _peft_config(shape: Shape) -> dict[str, Any]:
    targets = "word_embeddings token_type_embeddings q_proj k_proj v_proj o_proj fc1 fc2 dense"
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": None,
        "r": shape.rank,
        "lora_alpha": shape.alpha,
        "lora_dropout": 0.0,
        "target_modules": targets.split(),
    }


def _peft_tensors(shape: Shape, tensors: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    out = {}
    for name in ("word_embeddings", "token_type_embeddings"):
        key = f"roberta.embeddings.{name}"
        new = f"base_model.model.embeddings.{name}.lora_embedding_"
        out[new + "A"] = tensors[key + LORA_A][index].t().contiguous()
        out[new + "B"] = tensors[key + LORA_B][index].t().contiguous()
    for name in shape.linears():
        a, b = tensors[name + LORA_A][index], tensors[name + LORA_B][index]
        new = name.replace("roberta.encoder.", "roberta.").removeprefix("roberta.")
        if new.endswith("mixer.Wqkv"):
            prefix = new.removesuffix("mixer.Wqkv") + "self_attn."
            parts = dict(zip(("q_proj", "k_proj", "v_proj"), b.chunk(3), strict=True))
        else:
            prefix, parts = "", {new.replace("mixer.out_proj", "self_attn.o_proj"): b}
        for part, part_b in parts.items():
            key = f"base_model.model.{prefix}{part}.lora_"
            out[key + "A.weight"] = a.clone()
            out[key + "B.weight"] = part_b.clone()
    return out


def shuffled_adapter(tensors: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """The same tensors with the rows of one adapter's matrices in another order."""
    random = torch.Generator().manual_seed(7)
    out = dict(tensors)
    for key, tensor in tensors.items():
        if key.endswith(LORA_B) and tensor.shape[1] > 1:
            out[key] = tensor.clone()
            order = torch.randperm(tensor.shape[1], generator=random)
            out[key][index] = tensor[index][order]
    return out


if __name__ == "__main__":
    write_original(Path(sys.argv[1]), replace(FULL_SIZE, seed=1))
    print(f"wrote a full-size random checkpoint to {sys.argv[1]}")
