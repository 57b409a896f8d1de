"""Graphs: small batches on a GPU as recorded CUDA graphs.

A short query is some hundred kernel launches, which take longer than what they launch. A graph
replays them with one launch, but for fixed shapes: so there is one for each of a few numbers of
tokens, and a batch is filled up to the next of them with a row that nobody pools.

T tokens, R rows. Written without a GPU at hand: filling up is tested on a CPU, recording and
replaying only where there is one (marker `gpu`).
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import logging
from dataclasses import dataclass, replace

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


def filled(batch: PackedBatch, tokens: int) -> PackedBatch:
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


@dataclass(frozen=True, slots=True)
class Recorded:
    """A graph with the tensors that it reads and the hidden states that it writes."""

    graph: "torch.cuda.CUDAGraph"
    batch: PackedBatch
    hidden: Tensor


class Graphs:
    """An encoder's graphs. Record and replay on one thread: that of the device."""

    def __init__(self, encoder: Encoder, example: PackedBatch) -> None:
        """`example` is any batch of at most 32 tokens.

        Raises:
            RuntimeError: the device or a kernel cannot be recorded.
        """
        pool = torch.cuda.graph_pool_handle()
        self._recorded: dict[int, Recorded] = {}
        for size in reversed(SIZES):  # the largest first: the others fit into its memory
            batch = filled(example, size)
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # kernels are chosen and loaded before the recording
                for _ in range(2):
                    encoder(batch)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                hidden = encoder(batch)
            self._recorded[size] = Recorded(graph, batch, hidden)

    def hidden(self, batch: PackedBatch) -> Tensor | None:
        """Hidden states (T, D), to be used before the next call; None for a batch too large."""
        tokens = len(batch.token_ids)
        size = next((size for size in SIZES if size >= tokens), None)
        if size is None:
            return None
        recorded, given = self._recorded[size], filled(batch, size)
        for name in ("token_ids", "positions", "adapters", "row_starts"):
            getattr(recorded.batch, name).copy_(getattr(given, name), non_blocking=True)
        recorded.graph.replay()
        return recorded.hidden[:tokens]
