"""CudaGraphs: small batches on a GPU as recorded CUDA graphs.

A short query is some hundred kernel launches, which take longer than what they launch. A graph
replays them with one launch, but for fixed shapes: so there is one for each of a few numbers of
tokens, and a batch is padded up to the next of them with a row that nobody pools.

T tokens, R rows, D hidden. Written without a GPU at hand: filling up, and what is done when a
recording fails, are tested on a CPU; recording and replaying only where there is a GPU (marker
`gpu`).
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.encoder import Encoder
from model.packing import NO_ADAPTER, EqualRows, PackedBatch

log = logging.getLogger("quintet.model")

# Past these a forward pass takes longer than its launches.
SIZES = (32, 64, 128, 256, 512, 1024, 2048)
# The shortest row has two tokens, the special ones; one more row is for what fills up.
_SHORTEST_ROW = 2
# Between what is replayed and what is computed, in bfloat16.
_LEAST_COSINE = 0.99


def padded(batch: PackedBatch, tokens: int) -> PackedBatch:
    """The same rows and spans in a batch of `tokens` tokens and tokens / 2 + 1 rows.

    What is missing is one row without an adapter, and then rows without a token.
    """
    has = len(batch.token_ids)
    missing, rows = tokens - has, tokens // _SHORTEST_ROW + 1
    assert missing >= 0, f"a batch of {has} tokens does not fit into {tokens}"
    assert len(batch.row_starts) <= rows + 1, "a row has at least its two special tokens"
    starts = F.pad(batch.row_starts, (0, rows + 1 - len(batch.row_starts)), value=tokens)
    more = (EqualRows(has, 1, missing),) if missing else ()
    return replace(
        batch,
        token_ids=F.pad(batch.token_ids, (0, missing)),
        positions=F.pad(batch.positions, (0, missing)),
        adapters=F.pad(batch.adapters, (0, missing), value=NO_ADAPTER),
        row_starts=starts,
        longest=tokens,
        equal_rows=(*batch.equal_rows, *more),
        has_adapters=True,
        only_adapter=NO_ADAPTER,
    )


def check_same(found: Tensor, expected: Tensor, when: str) -> None:
    """Compare what two passes gave, (n, D) each.

    Raises:
        RuntimeError: they differ by more than rounding, or are not finite.
    """
    cosine = F.cosine_similarity(found.float(), expected.float()).min().item()
    if not cosine >= _LEAST_COSINE:  # a cosine may be no number
        raise RuntimeError(f"a pass gives other values {when}: a cosine of {cosine:.4f}")


@dataclass(frozen=True, slots=True)
class RecordedGraph:
    """A graph with the tensors that it reads and the hidden states that it writes."""

    graph: "torch.cuda.CUDAGraph"
    batch: PackedBatch
    hidden: Tensor


@contextlib.contextmanager
def _stream_beside(device: torch.device) -> Iterator["torch.cuda.Stream"]:
    """A stream to record on. Whatever fails on it, the stream from before is current afterwards,
    and nothing runs any more that reads a tensor which is now given back.

    torch.cuda.graph does not see to that: where the begin or the end of a capture raises, its own
    stream stays current. Later passes would run there, and not wait for the copies of their
    batches, which another thread makes on the default stream.
    """
    before = torch.cuda.current_stream(device)
    try:
        yield torch.cuda.Stream(device)
    finally:
        torch.cuda.set_stream(before)
        torch.cuda.synchronize(device)


def _record(
    encoder: Encoder, batch: PackedBatch, pool: Any, stream: "torch.cuda.Stream"
) -> RecordedGraph:
    """A graph of the pass over `batch`, which gives what the pass itself gives."""
    stream.wait_stream(torch.cuda.current_stream(batch.token_ids.device))
    with torch.cuda.stream(stream):  # kernels are chosen and loaded before the recording
        for _ in range(2):
            expected = encoder(batch)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=stream):
        hidden = encoder(batch)
    graph.replay()
    check_same(hidden, expected, "when it is replayed")
    return RecordedGraph(graph, batch, hidden)


class CudaGraphs:
    """An encoder's graphs. Record and replay on one thread: that of the device."""

    def __init__(self, encoder: Encoder, example: PackedBatch) -> None:
        """`example` is any batch of at most 32 tokens. Its device must be the current one.

        Raises:
            RuntimeError: the device or a kernel cannot be recorded, or a graph gives other values.
        """
        pool = torch.cuda.graph_pool_handle()
        self._recorded: dict[int, RecordedGraph] = {}
        with _stream_beside(example.token_ids.device) as stream:
            for size in reversed(SIZES):  # the largest first: the others fit into its memory
                batch = padded(example, size)
                self._recorded[size] = _record(encoder, batch, pool, stream)

    def hidden(self, batch: PackedBatch) -> Tensor | None:
        """Hidden states (T, D), to be used before the next call; None for a batch too large."""
        tokens = len(batch.token_ids)
        size = next((size for size in SIZES if size >= tokens), None)
        if size is None:
            return None
        recorded, given = self._recorded[size], padded(batch, size)
        for name in ("token_ids", "positions", "adapters", "row_starts"):
            getattr(recorded.batch, name).copy_(getattr(given, name), non_blocking=True)
        recorded.graph.replay()
        return recorded.hidden[:tokens]
