"""Row: one sequence that the encoder reads."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TokenIds = npt.NDArray[np.int32]
Spans = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float32]

# Rows of one forward pass on a GPU: FlashAttention has one in each place of its grid's second
# dimension, and CUDA allows so many (maximum y-dimension of a grid of thread blocks,
# https://docs.nvidia.com/cuda/cuda-c-programming-guide/#features-and-technical-specifications).
MAX_ROWS = 65_535


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Token ids with the adapter that reads them and the spans that become vectors.

    token_ids (L,) int32, with the special tokens and the instruction. `adapter` is an index, or
    None for the base weights. spans (S, 2) int32 are half-open token ranges `[start, stop)`, not
    empty: a plain input is one span over the whole row, a late-chunked request is one row with a
    span for each input, but for those without a token, which share one.
    """

    token_ids: TokenIds
    adapter: int | None
    spans: Spans

    def __len__(self) -> int:
        return len(self.token_ids)

    @staticmethod
    def single_span(token_ids: TokenIds, adapter: int | None) -> "Row":
        """A row that is pooled as one."""
        return Row(token_ids, adapter, np.array([[0, len(token_ids)]], dtype=np.int32))


def normalised(vectors: Vectors) -> Vectors:
    """Vectors (S, D) of length 1, or 0 where they are 0: those have no direction."""
    # Squares in float64: in float32 those of a short vector vanish.
    norms = np.sqrt(np.einsum("sd,sd->s", vectors, vectors, dtype=np.float64))
    norms[norms == 0] = 1
    unit: Vectors = (vectors / norms[:, None]).astype(np.float32)
    return unit
