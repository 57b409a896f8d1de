"""Row: one sequence of token ids that the encoder reads, with its adapter and its spans."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TokenIds = npt.NDArray[np.int32]
Spans = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float32]

# The most rows of one forward pass on a GPU: FlashAttention has one row per index of its grid's
# second dimension, which CUDA limits (maximum y-dimension of a grid of thread blocks,
# https://docs.nvidia.com/cuda/cuda-c-programming-guide/#features-and-technical-specifications).
MAX_ROWS = 65_535
NO_ADAPTER = -1  # in arrays of adapters, for Row.adapter None


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Token ids, the adapter that they are read with, and the spans that become vectors.

    token_ids (L,) int32 include the special tokens and the instruction. `adapter` is an index, or
    None for the base weights. spans (S, 2) int32 are non-empty half-open token ranges
    `[start, stop)`. A plain input has one span over the whole row. A late-chunked request is one
    row, or several windows (windows.py), with a span for each input; inputs without a token share
    one span.
    """

    token_ids: TokenIds
    adapter: int | None
    spans: Spans

    def __len__(self) -> int:
        return len(self.token_ids)

    @staticmethod
    def single_span(token_ids: TokenIds, adapter: int | None) -> "Row":
        """A row with one span over all of its tokens."""
        return Row(token_ids, adapter, np.array([[0, len(token_ids)]], dtype=np.int32))


def normalised(vectors: Vectors) -> Vectors:
    """Vectors (S, D) scaled to length 1; a zero vector stays zero."""
    # Sum of squares in float64: in float32 the squares of a short vector underflow.
    norms = np.sqrt(np.einsum("sd,sd->s", vectors, vectors, dtype=np.float64))
    norms[norms == 0] = 1
    unit: Vectors = (vectors / norms[:, None]).astype(np.float32)
    return unit
