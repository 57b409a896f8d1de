"""Fingerprint: digests of a checkpoint's content, from which spaces.py makes those of its spaces.

Every value is read: a digest over a sample of them would miss what differs elsewhere. Of the base,
which is 1.1 GB, it is the CRC-32 of each part that goes into the digest. That is six times as fast
as BLAKE2b, sees a change of one number for certain and misses any other change of one part once in
2^32 times; nobody gains by weights that collide. The digests by which the hub names its files are
of files, which differ between the two layouts and change for all tasks with one adapter.

Digests are the same in both layouts, and for values that are stored in another dtype without loss.
This module needs no torch, so that it reads while torch is imported, and reads files instead of
mapping them, so that their pages count once. Whether all tensors are there the loader checks.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from model.config import CheckpointError, EncoderConfig
from model.modules import POOLER, TOKEN_TYPE, WORD, adapter_folder, block_linears
from model.spaces import Fingerprint

# Numbers of a tensor that are read at once. Between parts this thread waits for the interpreter's
# lock, up to 5 ms while another one imports.
_PART = 1 << 22
_STACK = ".parametrizations.weight.0.lora_"
_NUMPY = {"F8_E4M3": "u1", "BF16": "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8"}
_LARGEST = 8  # bytes of a number

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[Any]


def _bfloat16_of_float8() -> npt.NDArray[np.uint16]:
    """The bits of bfloat16 for each byte of float8: E4M3 in https://arxiv.org/abs/2209.05433, table
    1, which can be negative zero and not infinite."""
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    values = np.where(exponent, (8 + mantissa) * 2.0**exponent, 2.0 * mantissa) / 1024
    values[byte & 127 == 127] = np.nan
    signed = np.copysign(values, np.where(byte < 128, 1, -1)).astype("<f4")
    return (signed.view("<u4") >> 16).astype(np.uint16)


_BFLOAT16 = _bfloat16_of_float8()


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor in a safetensors file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return (self.stop - self.start) // np.dtype(_NUMPY[self.dtype]).itemsize

    def parts(self, buffer: Bytes) -> Iterator[Numbers]:
        """Its numbers, float8 and bfloat16 as bits of bfloat16: at a time as many as 64-bit ones
        fit into the buffer, and in the place of those before."""
        kind, most = np.dtype(_NUMPY[self.dtype]), len(buffer) // _LARGEST
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.start)
            for at in range(0, self.size, most):
                part = buffer[: min(most, self.size - at) * kind.itemsize]
                _read_into(file, part.data)
                yield _BFLOAT16[part] if self.dtype == "F8_E4M3" else part.view(kind)

    def whole(self) -> Numbers:
        """All of them as float32, in their shape."""
        (numbers,) = self.parts(np.empty(self.size * _LARGEST, np.uint8))
        if numbers.dtype == np.uint16:  # the upper half of a float32
            numbers = (numbers.astype("<u4") << 16).view("<f4")
        return numbers.astype("<f4").reshape(self.shape)


def fingerprint(folder: Path, config: EncoderConfig) -> Fingerprint:
    """The fingerprint of the checkpoint in `folder`.

    Raises:
        CheckpointError: the folder has no checkpoint of such numbers in either layout.
    """
    try:
        return _fingerprint(folder, config)
    except KeyError as error:
        raise _unreadable(folder, f"{error.args[0]} is not there") from None
    except OSError as error:
        why = f"{error.filename}: {error.strerror}" if error.strerror else str(error)
        raise _unreadable(folder, why) from None
    except (ArithmeticError, TypeError, ValueError) as error:
        raise _unreadable(folder, str(error)) from None


def _unreadable(folder: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"the weights in {folder} cannot be read ({why}); a file is damaged, or not whole."
    )


def _fingerprint(folder: Path, config: EncoderConfig) -> Fingerprint:
    tensors = _read_heads(folder.glob("model*.safetensors"), "roberta.")
    adapters = (
        _stacked_adapters(tensors, config)
        if any(_STACK in name for name in tensors)
        else [_peft_adapter(folder / adapter_folder(task), config) for task in config.tasks]
    )
    buffer = np.empty(_PART * _LARGEST, np.uint8)
    base = {
        name.replace(".parametrizations.weight.original", ".weight"): _checksums(tensor, buffer)
        for name, tensor in tensors.items()
        if _STACK not in name and not name.startswith(POOLER.base)
    }
    numbers = (
        *(config.num_heads, config.layer_norm_eps, config.rotary_base),
        *(config.bos_token_id, config.eos_token_id),
    )
    return Fingerprint(_digest([numbers, base]), tuple(map(_digest, adapters)))


def changed(folder: Path) -> CheckpointError:
    """Why a process that starts again refuses a checkpoint."""
    return CheckpointError(
        f"{folder} has changed since the service started, and vectors with it; start the service "
        "again to serve what is there now."
    )


def digest_of_readers(folder: Path, expected: str | None = None) -> str:
    """Of the files by which texts become rows. Another one may be the same tokenizer, written by
    another release of its library.

    Raises:
        CheckpointError: another one is expected, or one cannot be read.
    """
    digest = hashlib.blake2b()
    for name in ("config.json", "tokenizer.json"):
        try:
            digest.update(hashlib.blake2b((folder / name).read_bytes()).digest())
        except OSError as error:
            raise CheckpointError(f"{folder / name} cannot be read: {error.strerror}.") from None
    if expected not in (None, digest.hexdigest()):
        raise changed(folder)
    return digest.hexdigest()


def _read_heads(paths: Iterator[Path], *prefixes: str) -> dict[str, _Stored]:
    """The tensors of safetensors files by name, without prefixes.
    https://huggingface.co/docs/safetensors/index#format
    """
    found = {}
    for path in paths:
        with path.open("rb") as file:
            whole = os.fstat(file.fileno()).st_size
            size = int.from_bytes(file.read(8), "little")
            if 8 + size > whole:
                raise ValueError(f"{path} ends early")
            head = orjson.loads(file.read(size))
        if not isinstance(head, dict):
            raise ValueError(f"{path} does not begin with an object")  # noqa: TRY004
        head.pop("__metadata__", None)
        for name, facts in head.items():
            for prefix in prefixes:
                name = name.removeprefix(prefix)  # noqa: PLW2901
            if facts["dtype"] not in _NUMPY:
                raise CheckpointError(f"{path}: {name} has numbers of the type {facts['dtype']}.")
            start, stop = (8 + size + offset for offset in facts["data_offsets"])
            if not 8 + size <= start <= stop <= whole:
                raise ValueError(f"{path} does not have {name} where its header says")
            found[name] = _Stored(path, facts["dtype"], tuple(facts["shape"]), start, stop)
    return found


def _stacked_adapters(tensors: dict[str, _Stored], config: EncoderConfig) -> list[Any]:
    """What an adapter consists of, for each task, in the original layout."""
    scale = (config.lora_alpha or 0) / (config.lora_rank or 1)  # without them it is not loaded
    found: list[dict[str, list[Any]]] = [{} for _ in config.tasks]
    for name in sorted(name for name in tensors if _STACK in name):
        module, _, _ = name.partition(_STACK)
        if module != POOLER.base:
            for adapter, numbers in zip(found, tensors[name].whole(), strict=True):
                adapter.setdefault(module, []).append(_digest_numbers(numbers))
    return [[scale, adapter] for adapter in found]


def _peft_adapter(folder: Path, config: EncoderConfig) -> list[Any]:
    """The same of one task in the -hf layout."""
    fields = orjson.loads((folder / "adapter_config.json").read_bytes())
    files = iter([folder / "adapter_model.safetensors"])
    tensors = _read_heads(files, "base_model.model.", "roberta.")
    found = {}
    for name in (WORD, TOKEN_TYPE):
        key = f"{name.peft[0]}.lora_embedding_"  # both matrices are stored transposed
        pair = (tensors[key + "A"].whole().T, tensors[key + "B"].whole().T)
        found[name.base] = [_digest_numbers(each) for each in pair]
    for layer in range(config.num_layers):
        for _, name, _ in block_linears(f"layers.{layer}", config):
            a, b = (
                [tensors[f"{part}.lora_{letter}.weight"].whole() for part in name.peft]
                for letter in "AB"
            )
            if all(np.array_equal(each, a[0]) for each in a):
                a, b = a[:1], [np.concatenate(b)]
            found[name.base] = [_digest_numbers(each) for each in (*a, *b)]
    return [fields["lora_alpha"] / fields["r"], found]


def _read_into(file: FileIO, rest: memoryview) -> None:
    while rest:
        if not (read := file.readinto(rest)):
            raise OSError(f"{file.name} ends early")
        rest = rest[read:]


def _narrowed(numbers: Numbers) -> Numbers:
    """Numbers as the bits of bfloat16 where that loses nothing, else as those of float32."""
    if numbers.dtype == np.uint16:
        return numbers
    bits = np.ascontiguousarray(numbers, "<f4").view("<u4")
    return bits if (bits & 0xFFFF).any() else (bits >> 16).astype("<u2")


def _checksums(tensor: _Stored, buffer: Bytes) -> list[tuple[str, int]]:
    return [
        (part.dtype.str, zlib.crc32(part.data)) for part in map(_narrowed, tensor.parts(buffer))
    ]


def _digest_numbers(numbers: Numbers) -> tuple[str, str]:
    narrowed = _narrowed(numbers)
    return narrowed.dtype.str, hashlib.blake2b(narrowed.data).hexdigest()


def _digest(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode()).hexdigest()
