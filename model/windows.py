"""Windows: a document longer than the model reads, in overlapping windows ("long late chunking").

The reference (jina-ai/late-chunking, `_embed_with_overlap`) starts a window every size - overlap
tokens, runs the model on each slice of the token ids, drops the first `overlap` states of every
window but the first, joins the rest, and pools spans out of that. Here each window is a row whose
spans are the parts of the document's spans that it keeps; a span's vector is the mean of its parts,
weighted by their tokens, which is the same number.

S spans, P parts of spans, D hidden.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.rows import Row, Vectors


@dataclass(frozen=True, slots=True, eq=False)
class SpanParts:
    """Which span each part belongs to, (P,), and how many tokens it has, (P,)."""

    span: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]

    def joined(self, vectors: Vectors) -> Vectors:
        """Means of parts (P, D) -> means of spans (S, D) float32."""
        order = np.argsort(self.span, kind="stable")
        first = np.flatnonzero(np.diff(self.span[order], prepend=-1))
        weights = self.tokens[order]
        sums = np.add.reduceat(vectors[order] * weights[:, None], first, axis=0)
        means: Vectors = (sums / np.add.reduceat(weights, first)[:, None]).astype(np.float32)
        return means


def windows(document: Row, size: int, overlap: int) -> tuple[tuple[Row, ...], SpanParts]:
    """A document -> its windows of at most `size` tokens, and how their vectors are joined.

    A window of which nothing is kept is left out.
    """
    assert 0 <= overlap < size, "windows must move on"
    rows, span_of, tokens = [], [], []
    for start in range(0, len(document), size - overlap):
        stop = min(start + size, len(document))
        kept = start + overlap if start else 0
        starts = np.maximum(document.spans[:, 0], kept)
        stops = np.minimum(document.spans[:, 1], stop)
        (here,) = np.nonzero(starts < stops)
        if not len(here):
            continue
        spans = np.stack([starts[here] - start, stops[here] - start], axis=1)
        rows.append(Row(document.token_ids[start:stop], document.adapter, spans.astype(np.int32)))
        span_of.append(here)
        tokens.append(stops[here] - starts[here])
    return tuple(rows), SpanParts(np.concatenate(span_of), np.concatenate(tokens).astype(np.int64))
