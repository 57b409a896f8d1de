"""CUDA graphs: small batches on a GPU as one launch instead of hundreds.

The forward pass of a short query is some hundred kernel launches, which take longer than the
kernels. A graph replays them with one launch, for fixed shapes only: there is one graph for each of
a few numbers of tokens, and a batch is padded to the next of them by a row without spans.

T tokens, R rows, D hidden. Padding and failed recordings are tested on a CPU with emulated CUDA;
recording and replaying themselves need a GPU (test marker `gpu`).
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
from model.packing import EqualRows, PackedBatch
from model.rows import NO_ADAPTER

log = logging.getLogger("quintet.model")

# In tokens. A larger forward pass takes longer than its launches.
SIZES = (32, 64, 128, 256, 512, 1024, 2048)
# The shortest row has the two special tokens; one more row is the padding.
_SHORTEST_ROW = 2
# The least cosine between replayed and computed hidden states, in bfloat16.
_LEAST_COSINE = 0.99


def padded(batch: PackedBatch, tokens: int) -> PackedBatch:
    """The same rows and spans in a batch of `tokens` tokens and tokens / 2 + 1 rows.

    One row without an adapter has the padding tokens, and the rows after it have no token.
    """
    used = len(batch.token_ids)
    missing, rows = tokens - used, tokens // _SHORTEST_ROW + 1
    assert missing >= 0, f"a batch of {used} tokens does not fit into {tokens}"
    assert len(batch.row_starts) <= rows + 1, "a row has at least its two special tokens"
    starts = F.pad(batch.row_starts, (0, rows + 1 - len(batch.row_starts)), value=tokens)
    more = (EqualRows(used, 1, missing),) if missing else ()
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
    """Compare the results of two forward passes, (n, D) each.

    Raises:
        RuntimeError: they differ by more than rounding, or are not finite.
    """
    cosine = F.cosine_similarity(found.float(), expected.float()).min().item()
    if not cosine >= _LEAST_COSINE:  # also if it is NaN
        raise RuntimeError(f"a pass gives other values {when}: a cosine of {cosine:.4f}")


@dataclass(frozen=True, slots=True)
class RecordedGraph:
    """A graph, the tensors that it reads, and the hidden states (T, D) that it writes."""

    graph: "torch.cuda.CUDAGraph"
    batch: PackedBatch
    hidden: Tensor


@contextlib.contextmanager
def _stream_beside(device: torch.device) -> Iterator["torch.cuda.Stream"]:
    """A stream to record on. Afterwards, also after an error, the previous stream is current again
    and all work on the device is done, so that no kernel reads a tensor that is freed.

    torch.cuda.graph does not ensure that: if beginning or ending a capture raises, its own stream
    stays current. Later passes would run there without waiting for the copies of their batches,
    which another thread makes on the default stream.
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
    """Record the forward pass over `batch`, and check that the graph gives the same values."""
    stream.wait_stream(torch.cuda.current_stream(batch.token_ids.device))
    with torch.cuda.stream(stream):  # so that kernels are chosen and loaded before the recording
        for _ in range(2):
            expected = encoder(batch)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=stream):
        hidden = encoder(batch)
    graph.replay()
    check_same(hidden, expected, "when it is replayed")
    return RecordedGraph(graph, batch, hidden)


class CudaGraphs:
    """The graphs of an encoder. Record and replay them on the same thread."""

    def __init__(self, encoder: Encoder, example: PackedBatch) -> None:
        """`example` is any batch of at most 32 tokens. Its device must be the current one.

        Raises:
            RuntimeError: the device or a kernel cannot be recorded, or a graph gives other values.
        """
        pool = torch.cuda.graph_pool_handle()
        self._recorded: dict[int, RecordedGraph] = {}
        with _stream_beside(example.token_ids.device) as stream:
            for size in reversed(SIZES):  # the largest first: the others reuse its memory
                batch = padded(example, size)
                self._recorded[size] = _record(encoder, batch, pool, stream)

    def hidden(self, batch: PackedBatch) -> Tensor | None:
        """Hidden states (T, D), valid until the next call; None if the batch is too large."""
        tokens = len(batch.token_ids)
        size = next((size for size in SIZES if size >= tokens), None)
        if size is None:
            return None
        recorded, source = self._recorded[size], padded(batch, size)
        for name in ("token_ids", "positions", "adapters", "row_starts"):
            getattr(recorded.batch, name).copy_(getattr(source, name), non_blocking=True)
        recorded.graph.replay()
        return recorded.hidden[:tokens]
