"""Tensors: reading safetensors files, with a check that every tensor is taken exactly once."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.config import CheckpointError

# Others are scaled by further tensors, or codes of something else.
_DTYPES = (torch.float8_e4m3fn, torch.bfloat16, torch.float16, torch.float32, torch.float64)
# Numbers of a tensor that has a mapping of its own; opening a file takes half a millisecond.
_LARGE = 2**18


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    mapped: safe_open


class TensorFiles:
    """The tensors of several safetensors files by name.

    Files are memory-mapped, anew for each large tensor: one that stays a view of its file (the word
    table) would keep the pages of all others in memory, 600 MB of jina-embeddings-v3.
    """

    def __init__(self, paths: Iterable[Path], prefixes: tuple[str, ...]) -> None:
        self._where = "no file"
        self._file_of: dict[str, tuple[_File, str]] = {}
        for path in paths:
            self._where = f"{path.parent.name}/{path.name}"
            file = _File(path, _opened(path))
            for key in file.mapped.keys():  # noqa: SIM118  (a safetensors file is no mapping)
                self._add(key, file, prefixes)

    def _add(self, key: str, file: _File, prefixes: tuple[str, ...]) -> None:
        short = key
        for prefix in prefixes:
            short = short.removeprefix(prefix)
        if short in self._file_of:
            raise CheckpointError(f"the tensor {short} is there twice; seen in {self._where}.")
        self._file_of[short] = (file, key)

    def __contains__(self, key: str) -> bool:
        return key in self._file_of

    def take(self, key: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor of that name and shape; it can be taken once.

        Raises:
            CheckpointError: it does not exist, was taken before, has another shape, or numbers that
                are no weights as they are.
        """
        if key not in self._file_of:
            raise CheckpointError(f"the tensor {key} is missing in {self._where}.")
        file, full_key = self._file_of.pop(key)
        mapped = _opened(file.path) if math.prod(shape) >= _LARGE else file.mapped
        tensor: Tensor = mapped.get_tensor(full_key)
        if tensor.dtype not in _DTYPES:
            raise CheckpointError(
                f"the tensor {key} in {self._where} has numbers of the type {tensor.dtype}; this "
                f"encoder reads {', '.join(map(str, _DTYPES))}."
            )
        if tuple(tensor.shape) != shape:
            raise CheckpointError(
                f"the tensor {key} in {self._where} has shape {tuple(tensor.shape)}; "
                f"the config asks for {shape}."
            )
        return tensor

    def refuse_leftovers(self) -> None:
        """Raise CheckpointError with the names of the tensors that were not taken, if any."""
        if self._file_of:
            names = sorted(self._file_of)
            shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            raise CheckpointError(
                f"{len(names)} tensors in {self._where} belong to nothing in this model: {shown}"
            )


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from None
