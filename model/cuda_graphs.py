"""CUDA graphs: small batches on a GPU as one launch instead of hundreds.

The forward pass of a short query is some hundred kernel launches, which take longer than the
kernels. A graph replays them with one launch, for fixed shapes only: there is a graph for each of a
few shapes and each mode of the encoder, and a batch is padded to the first shape that it fits when
it is packed.

D hidden. Shapes, padding and failed recordings are tested on a CPU with emulated CUDA; recording
and replaying themselves need a GPU (test marker `gpu`).
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.gpu_encoder import GpuEncoder
from model.packing import BatchShape, PackedBatch, pack
from model.rows import Row

log = logging.getLogger("quintet.model")

# In tokens. A larger forward pass takes longer than its launches.
SIZES = (32, 64, 128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096)
# The least cosine between replayed and computed hidden states, in bfloat16.
_LEAST_COSINE = 0.99
# FlashAttention's thread blocks: one for each head, row and 128 tokens of the longest row.
_TOKENS_PER_BLOCK = 128


def attention_blocks(shape: BatchShape) -> int:
    """Thread blocks for each head that attention is launched with, for any batch of that shape.

    Most of them find no token: those of a shape should be few, as each takes its time all the same
    (2,048 tokens of any lengths in one shape: .38 ms a layer instead of .05, on an H200).
    """
    return -(-shape.longest // _TOKENS_PER_BLOCK) * shape.rows


def shapes() -> list[BatchShape]:
    """The shapes that are recorded, in the order in which they are tried: for each number of tokens
    one for many short rows, one for rows of a few hundred tokens and one for few long rows."""
    found = []
    for tokens in SIZES:
        if tokens <= _TOKENS_PER_BLOCK:  # any rows; the shortest has the two special tokens
            found.append(BatchShape(tokens, tokens // 2 + 1, tokens))
            continue
        found.append(BatchShape(tokens, tokens // 8, 128))
        found.append(BatchShape(tokens, max(8, tokens // 32), min(tokens, 512)))
        if tokens > 512:
            found.append(BatchShape(tokens, max(8, tokens // 256), tokens))
    return found


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
    """A graph, the `inputs` of a PackedBatch that it reads, and the hidden states (T, D) that it
    writes."""

    graph: "torch.cuda.CUDAGraph"
    inputs: Tensor
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
    encoder: GpuEncoder, batch: PackedBatch, mode: int, pool: Any, stream: "torch.cuda.Stream"
) -> RecordedGraph:
    """Record the forward pass over `batch`, and check that the graph gives the same values."""
    stream.wait_stream(torch.cuda.current_stream(batch.token_ids.device))
    with torch.cuda.stream(stream):  # so that kernels are chosen and loaded before the recording
        expected = encoder.hidden(batch, mode)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=stream):
        hidden = encoder.hidden(batch, mode)
    graph.replay()
    check_same(hidden, expected, "when it is replayed")
    return RecordedGraph(graph, batch.inputs, hidden)


class CudaGraphs:
    """The graphs of an encoder. Record and replay them on the same thread."""

    def __init__(self, encoder: GpuEncoder, rows: Sequence[Row], device: torch.device) -> None:
        """`rows` are any that fit every shape. The device must be the current one.

        Raises:
            RuntimeError: the device or a kernel cannot be recorded, or a graph gives other values.
        """
        pool = torch.cuda.graph_pool_handle()
        self._encoder = encoder
        self._shapes = shapes()
        self._recorded: dict[tuple[BatchShape, int], RecordedGraph] = {}
        with _stream_beside(device) as stream:
            for shape in reversed(self._shapes):  # the largest first: others reuse its memory
                for mode in encoder.modes:
                    batch = pack(rows, device, lambda *_, shape=shape: shape)
                    self._recorded[shape, mode] = _record(encoder, batch, mode, pool, stream)

    def __len__(self) -> int:
        return len(self._recorded)

    def choose_shape(self, tokens: int, rows: int, longest: int) -> BatchShape | None:
        """The shape that a batch is padded to; None if it fits none and is computed as it is."""
        return next((each for each in self._shapes if each.fits(tokens, rows, longest)), None)

    def hidden(self, batch: PackedBatch) -> Tensor:
        """A batch that is padded to a shape -> hidden states (T, D), valid until the next call."""
        assert batch.shape is not None
        recorded = self._recorded[batch.shape, self._encoder.mode(batch)]
        recorded.inputs.copy_(batch.inputs, non_blocking=True)
        recorded.graph.replay()
        return recorded.hidden
