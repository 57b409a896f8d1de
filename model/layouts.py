"""Layouts: how the two published layouts of a checkpoint name their tensors.

- The original layout (jinaai/jina-embeddings-v3): one file; a base weight is
  `NAME.parametrizations.weight.original` and its adapters, all tasks stacked, are
  `NAME.parametrizations.weight.0.lora_A` and `lora_B`.
- The -hf layout (jinaai/jina-embeddings-v3-hf): the base without adapters, and one PEFT folder for
  each task, in which Wqkv is split into q_proj, k_proj and v_proj.

n adapters, r rank, V vocabulary, D hidden. A linear layer's LoRA is A (n, r, in), B (n, out, r);
an embedding's is the other way round, A (n, V, r), B (n, r, D).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.config import CheckpointError, EncoderConfig, is_number_over, read_json
from model.modules import ModuleName, adapter_folder
from model.tensors import TensorFiles

# Values in PEFT's adapter_config.json that leave LoRA's formula as it is.
_PLAIN_LORA: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "fan_in_fan_out": (False, None),
    "bias": ("none", None),
    "lora_bias": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "layers_to_transform": (None,),
    "layer_replication": (None,),
    "exclude_modules": (None, []),
    # Others change the base weights as well.
    "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal"),
    "alora_invocation_tokens": (None,),
    "use_qalora": (False, None),
    "use_bdlora": (None, False),
    "arrow_config": (None,),
    "kasa_config": (None,),
    "monteclora_config": (None,),
}


@dataclass(frozen=True, slots=True)
class Lora:
    """The adapters of one module, stacked over tasks; the shapes are those above."""

    a: Tensor
    b: Tensor


class Layout(ABC):
    """The tensors of a checkpoint by module; `scale` is alpha / rank.

    Methods that return a tensor raise CheckpointError if it is missing, was taken before or has
    another shape.
    """

    rank: int
    scale: float

    def __init__(self, base: TensorFiles, weight: str) -> None:
        self._base = base
        self._weight = weight  # what follows a module's name in the name of its weight

    def has(self, name: ModuleName) -> bool:
        """Whether the base has that module."""
        return f"{name.base}.{self._weight}" in self._base

    def weight(self, name: ModuleName, shape: tuple[int, int]) -> Tensor:
        """The base weight of an adapted module."""
        return self._base.take(f"{name.base}.{self._weight}", shape)

    def plain(self, key: str, size: int) -> Tensor:
        """A bias or a norm's vector, which has no adapters."""
        return self._base.take(key, (size,))

    def refuse_leftovers(self) -> None:
        """Raise CheckpointError if a tensor was not taken."""
        self._base.refuse_leftovers()

    @abstractmethod
    def lora(self, name: ModuleName, shape: tuple[int, int]) -> Lora:
        """The adapters of a linear module whose weight has that shape."""

    @abstractmethod
    def embedding_lora(self, name: ModuleName, shape: tuple[int, int]) -> Lora:
        """The adapters of an embedding whose table has that shape."""


class OriginalLayout(Layout):
    """One file with the base and all adapters."""

    def __init__(self, base: TensorFiles, config: EncoderConfig) -> None:
        if config.lora_rank is None or config.lora_alpha is None:
            raise CheckpointError("config.json does not say lora_rank and lora_alpha.")
        super().__init__(base, "parametrizations.weight.original")
        self.scale = config.lora_alpha / config.lora_rank
        self.rank, self._adapters = config.lora_rank, len(config.tasks)

    def lora(self, name: ModuleName, shape: tuple[int, int]) -> Lora:
        return self._stacked(name, (self.rank, shape[1]), (shape[0], self.rank))

    def embedding_lora(self, name: ModuleName, shape: tuple[int, int]) -> Lora:
        return self._stacked(name, (shape[0], self.rank), (self.rank, shape[1]))

    def _stacked(self, name: ModuleName, a: tuple[int, int], b: tuple[int, int]) -> Lora:
        key = f"{name.base}.parametrizations.weight.0.lora_"
        return Lora(
            self._base.take(key + "A", (self._adapters, *a)),
            self._base.take(key + "B", (self._adapters, *b)),
        )


class HfLayout(Layout):
    """A base without adapters, and one PEFT folder for each task."""

    def __init__(self, base: TensorFiles, folder: Path, config: EncoderConfig) -> None:
        folders = _adapter_folders(folder, config)
        missing = [path.name for path in folders if not (path / "adapter_config.json").is_file()]
        if missing:
            raise CheckpointError(
                f"{folder} has neither adapters among its weights (the original layout) nor the "
                f"adapter folders {', '.join(missing)} (the -hf layout)."
            )
        super().__init__(base, "weight")
        self.rank, self.scale = _rank_and_scale(folders, config)
        self._adapters = [
            TensorFiles([path / "adapter_model.safetensors"], ("base_model.model.", "roberta."))
            for path in folders
        ]

    def lora(self, name: ModuleName, shape: tuple[int, int]) -> Lora:
        part_shape = shape[0] // len(name.peft), shape[1]
        return _joined([self._part(part, part_shape) for part in name.peft])

    def _part(self, part: str, shape: tuple[int, int]) -> Lora:
        key = f"{part}.lora_"
        return Lora(
            self._stacked(key + "A.weight", (self.rank, shape[1])),
            self._stacked(key + "B.weight", (shape[0], self.rank)),
        )

    def embedding_lora(self, name: ModuleName, shape: tuple[int, int]) -> Lora:
        # PEFT stores both matrices of an embedding transposed.
        key = f"{name.peft[0]}.lora_embedding_"
        return Lora(
            self._stacked(key + "A", (self.rank, shape[0])).mT,
            self._stacked(key + "B", (shape[1], self.rank)).mT,
        )

    def _stacked(self, key: str, shape: tuple[int, int]) -> Tensor:
        return torch.stack([files.take(key, shape) for files in self._adapters])

    def refuse_leftovers(self) -> None:
        super().refuse_leftovers()
        for files in self._adapters:
            files.refuse_leftovers()


def open_layout(folder: Path, config: EncoderConfig) -> Layout:
    """The layout that `folder` is in.

    Raises:
        CheckpointError: there are no weights in safetensors files, or adapters are missing.
    """
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder} has no model.safetensors; other formats are not read.")
    tensors = TensorFiles(files, ("roberta.",))
    word = "embeddings.word_embeddings"
    if f"{word}.parametrizations.weight.original" in tensors:
        return OriginalLayout(tensors, config)
    return HfLayout(tensors, folder, config)


def _adapter_folders(folder: Path, config: EncoderConfig) -> list[Path]:
    """The folder of each task's adapter in the -hf layout.

    Raises:
        CheckpointError: two tasks have the same one.
    """
    task_of: dict[str, str] = {}
    for task in config.tasks:
        name = adapter_folder(task)
        if (other := task_of.setdefault(name, task)) != task:
            raise CheckpointError(
                f"config.json: the tasks {other!r} and {task!r} would both have the adapter in "
                f"{folder.name}/{name}; give one of them another name."
            )
    return [folder / name for name in task_of]


def _joined(parts: list[Lora]) -> Lora:
    """The LoRAs of q, k and v -> one LoRA of the weight that they are stacked into.

    Parts with the same A, as in the published adapters, become one LoRA of the same rank. Others
    become one whose rank is the sum: A is stacked, B is block-diagonal.
    """
    if all(torch.equal(part.a, parts[0].a) for part in parts):
        return Lora(parts[0].a, torch.cat([part.b for part in parts], dim=1))
    blocks = [
        torch.block_diag(*(part.b[adapter] for part in parts)) for adapter in range(len(parts[0].b))
    ]
    return Lora(torch.cat([part.a for part in parts], dim=1), torch.stack(blocks))


def _rank_and_scale(folders: list[Path], config: EncoderConfig) -> tuple[int, float]:
    """The rank and alpha / rank that all adapters share.

    Raises:
        CheckpointError: adapters differ from each other or from config.json, or use a variant of
            LoRA with another formula.
    """
    found = {_checked_adapter(folder) for folder in folders}
    rank, alpha = next(iter(found))
    found.add((config.lora_rank or rank, config.lora_alpha or alpha))
    if len(found) != 1:
        raise CheckpointError(f"adapters differ in (rank, alpha): {sorted(found)}.")
    return rank, alpha / rank


def _checked_adapter(folder: Path) -> tuple[int, float]:
    """The rank and alpha of the adapter in `folder`."""
    fields = read_json(folder / "adapter_config.json")
    where = f"{folder.name}/adapter_config.json"
    for name, values in _PLAIN_LORA.items():
        if fields.get(name, values[0]) not in values:
            raise CheckpointError(
                f"{where}: {name} is {fields[name]!r}; this encoder computes plain LoRA, {name} = "
                f"{values[0]!r}."
            )
    rank, alpha = fields.get("r"), fields.get("lora_alpha")
    if not is_number_over(rank, 0) or not isinstance(rank, int):
        raise CheckpointError(f"{where}: r must be a positive whole number, not {rank!r}.")
    if not is_number_over(alpha, 0):
        raise CheckpointError(f"{where}: lora_alpha must be a finite number over 0, not {alpha!r}.")
    return rank, float(alpha)
