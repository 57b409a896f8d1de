"""Vectors of one response: cut, normalised, encoded, and written as JSON. Pure numpy.

Arrays are (vectors, dimensions). No Python loop goes over single numbers.
"""

import base64
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import orjson

from model.rows import Vectors, normalised


def cut(vectors: Vectors, dimensions: int | None) -> Vectors:
    """The first `dimensions` of each vector, as Matryoshka training ordered them."""
    return np.ascontiguousarray(vectors[:, :dimensions])


def normalise(vectors: Vectors) -> Vectors:
    """Vectors of length 1. After cut, never before: cutting shortens a vector."""
    return normalised(vectors)


def encode(vectors: Vectors, types: Sequence[str]) -> list[Any]:
    """What stands under `embedding` for each vector.

    For one type that is an array for the JSON writer or a base64 text; for several, an object with
    a key for each.
    """
    encoded = {name: _ENCODERS[name](vectors) for name in types}
    if len(encoded) == 1:
        return list(next(iter(encoded.values())))
    return [dict(zip(encoded, row, strict=True)) for row in zip(*encoded.values(), strict=True)]


def scales(vectors: Vectors, types: Sequence[str]) -> list[float] | None:
    """What the numbers of each vector as `int8` are times; None where that is not asked for."""
    return _int8_scales(vectors).tolist() if "int8" in types else None


def items(encoded: Sequence[Any], scales: Sequence[float] | None) -> list[dict[str, Any]]:
    """What a response says of each vector: `embedding`, and `scale` where there are any."""
    if scales is None:
        return [{"embedding": each} for each in encoded]
    return [
        {"embedding": each, "scale": scale} for each, scale in zip(encoded, scales, strict=True)
    ]


def to_json(body: Any) -> bytes:
    """A body with numpy arrays in it -> bytes. float32 is written with the fewest digits."""
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _base64(vectors: Vectors) -> list[str]:
    """Little-endian float32 in the standard alphabet."""
    return [base64.b64encode(vector).decode() for vector in vectors.astype("<f4", copy=False)]


def _ubinary(vectors: Vectors) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One bit a dimension, 1 where it is positive, first dimension in the highest bit."""
    return np.packbits(vectors > 0, axis=1)


def _binary(vectors: Vectors) -> np.ndarray[Any, np.dtype[np.int8]]:
    """The same numbers less 128, as Jina's API offsets them (not two's complement)."""
    return (_ubinary(vectors).astype(np.int16) - 128).astype(np.int8)


def _int8_scales(vectors: Vectors) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A 127th of each vector's largest magnitude, so that this becomes 127 or -127. In float64: the
    smallest float32 has no 127th."""
    largest: Vectors = np.abs(vectors).max(axis=1, initial=0)
    return largest.astype(np.float64) / 127


def _int8(vectors: Vectors) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Whole numbers that times the vector's scale are off by half of that scale at most."""
    scales = _int8_scales(vectors)
    scales[scales == 0] = 1  # a zero vector
    return np.rint(vectors / scales[:, None]).astype(np.int8)


_ENCODERS: dict[str, Callable[[Vectors], Iterable[Any]]] = {
    "float": list,
    "base64": _base64,
    "binary": _binary,
    "ubinary": _ubinary,
    "int8": _int8,
}
