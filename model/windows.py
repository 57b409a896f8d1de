"""Windows: late chunking of a document longer than 8,192 tokens, in overlapping windows.

The reference calls it long late chunking (jina-ai/late-chunking, `_embed_with_overlap`): a window
starts every size - overlap tokens, the model reads each slice of the token ids, the first `overlap`
hidden states of every window but the first are dropped, the rest are joined, and spans are pooled
out of that. Here each window is a row whose spans are the parts of the document's spans that it
keeps. A span's vector is the mean of its parts weighted by their tokens, which is the same value.

S spans, P parts of spans, D hidden.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.rows import Row, Vectors

# Tokens by which the windows of a document longer than the model's limit overlap.
DEFAULT_OVERLAP = 256


def default_overlap(max_tokens: int) -> int:
    """That of a model with this limit, which allows half of it at most."""
    return min(DEFAULT_OVERLAP, max_tokens // 2)


@dataclass(frozen=True, slots=True, eq=False)
class SpanParts:
    """The parts of spans in all windows: the span of each part (P,) and its token count (P,)."""

    span: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]

    def joined(self, vectors: Vectors) -> Vectors:
        """Vectors of parts (P, D) -> vectors of spans (S, D) float32, both unnormalised means."""
        order = np.argsort(self.span, kind="stable")
        first = np.flatnonzero(np.diff(self.span[order], prepend=-1))
        weights = self.tokens[order]
        sums = np.add.reduceat(vectors[order] * weights[:, None], first, axis=0)
        means: Vectors = (sums / np.add.reduceat(weights, first)[:, None]).astype(np.float32)
        return means


def windows(document: Row, size: int, overlap: int) -> tuple[tuple[Row, ...], SpanParts]:
    """A document -> its windows of at most `size` tokens, and the parts of spans that they have.

    A window without any part of a span is left out.
    """
    assert 0 <= overlap < size, "each window must begin after the one before it"
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
