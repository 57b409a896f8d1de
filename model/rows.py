"""Row: one sequence that the encoder reads."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TokenIds = npt.NDArray[np.int32]
Spans = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float32]


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
    def whole(token_ids: TokenIds, adapter: int | None) -> "Row":
        """A row that is pooled as one."""
        return Row(token_ids, adapter, np.array([[0, len(token_ids)]], dtype=np.int32))
