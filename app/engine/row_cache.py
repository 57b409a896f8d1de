"""RowCache: the vectors of rows that were computed before, of so many bytes at most.

It keeps promise 13 of README.md. A row's key is a SHA-256 of all that its vectors depend on: they
are the encoder's, before they are cut, normalised and encoded. For two different rows to have one
key somebody must find a collision of SHA-256, which nobody has; by chance, with 2^40 rows, one in
2^177. Where there is no room the row that was asked for longest ago gives way.
"""

import hashlib
import struct
from collections import OrderedDict

import numpy as np

from model.rows import NO_ADAPTER, Row, Vectors

# What an entry takes beside its vectors: the key, 65 bytes, the head of the vectors' bytes, 33, and
# its place in the OrderedDict, which has up to three places for each of its entries after it grew.
ENTRY_BYTES = 320

# The adapter and the number of tokens: without that ids and spans could be told apart in two ways.
_HEAD = struct.Struct("<iI")


def key_of(row: Row) -> bytes:
    """Equal for rows of equal token ids, adapter and spans, and for no others."""
    adapter = NO_ADAPTER if row.adapter is None else row.adapter
    head = _HEAD.pack(adapter, len(row.token_ids))
    return hashlib.sha256(head + row.token_ids.tobytes() + row.spans.tobytes()).digest()


class RowCache:
    """Vectors by the key of their row. They are copied in, and cannot be written to."""

    def __init__(self, max_bytes: int, width: int) -> None:
        """`width` is that of vectors."""
        self._max_bytes = max_bytes
        self._width = width
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        self.bytes = 0
        """Of all entries: vectors, keys, and what the cache itself needs for them."""

    def get(self, key: bytes) -> Vectors | None:
        """The vectors (S, D) of a row, which is now the last one to give way."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return np.frombuffer(entry, np.float32).reshape(-1, self._width)

    def put(self, key: bytes, vectors: Vectors) -> None:
        """Keep the vectors (S, D) of a row, unless they alone are too many."""
        size = vectors.nbytes + ENTRY_BYTES
        if size > self._max_bytes or key in self._entries:
            return
        self._entries[key] = vectors.tobytes()
        self.bytes += size
        while self.bytes > self._max_bytes:
            self.bytes -= len(self._entries.popitem(last=False)[1]) + ENTRY_BYTES

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self.bytes = 0
