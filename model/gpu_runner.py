"""GPU runner: an encoder's forward pass on a GPU, and what makes it fast at the start.

Each step that fails leaves the runner as it was before, with an error in the log that says what
that costs: a GPU without memory for merged weights, or an image without a C compiler, serves.
"""

import logging
import time
from typing import Literal

import torch
from torch import Tensor

from model.attention import VarlenAttend
from model.cuda_graphs import CudaGraphs, check_same
from model.encoder import Encoder
from model.gpu_encoder import GpuEncoder
from model.packing import BatchShape, PackedBatch, example, pack
from model.rows import Row

log = logging.getLogger("quintet.model")

Adapters = Literal["auto", "merged", "stacked"]


class GpuRunner:
    """Runs forward passes. Use it on one thread, with its GPU as the current device."""

    def __init__(self, encoder: Encoder, varlen: VarlenAttend) -> None:
        self._config = encoder.config
        self._device = encoder.embedding.word.device
        began = time.perf_counter()
        self._encoder = GpuEncoder(encoder, varlen)
        self._compiled_s = time.perf_counter() - began
        self._graphs: CudaGraphs | None = None
        self._recorded_s = 0.0

    def __str__(self) -> str:
        """What makes it fast, in words: "merged adapters, kernels by Triton in 3.1 s, 150 CUDA
        graphs in 4.0 s"."""
        merged = "merged" if len(self._encoder.modes) > 1 else "stacked"
        graphs = "without CUDA graphs"
        if self._graphs is not None:
            graphs = f"{len(self._graphs)} CUDA graphs in {self._recorded_s:.1f} s"
        kernels = f"kernels by {self._encoder.kernels} in {self._compiled_s:.1f} s"
        return f"{merged} adapters, {kernels}, {graphs}"

    def choose_shape(self, tokens: int, rows: int, longest: int) -> BatchShape | None:
        """The shape that a batch is padded to, or None."""
        return None if self._graphs is None else self._graphs.choose_shape(tokens, rows, longest)

    def hidden(self, batch: PackedBatch) -> Tensor:
        """A packed batch of T tokens -> hidden states (T, D), valid until the next call."""
        if self._graphs is not None and batch.shape is not None:
            return self._graphs.hidden(batch)
        return self._encoder.hidden(batch, self._encoder.mode(batch))

    @torch.inference_mode()
    def prepare(self, adapters: Adapters) -> None:
        """Merge weights and record graphs, as far as each is possible.

        `auto` merges adapters where that takes at most half of the free memory.

        Raises:
            RuntimeError: the device gives other values afterwards, or does not work any more.
        """
        rows = example(self._config, tokens=32)
        expected = self.hidden(pack(rows, self._device)).cpu()
        if adapters != "stacked":
            self._merge(only_if_roomy=adapters == "auto")
        self._record(rows[:1])
        hidden = self.hidden(pack(rows, self._device, self.choose_shape)).cpu()
        check_same(hidden[: len(expected)], expected, "after graphs were recorded")

    def _merge(self, *, only_if_roomy: bool) -> None:
        try:
            if only_if_roomy:
                self._refuse_without_room()
            self._encoder.merge()
        except torch.OutOfMemoryError as error:
            log.error("adapters are not merged, so batches of one task are slower: %s", error)  # noqa: TRY400

    def _refuse_without_room(self) -> None:
        needed, free = self._encoder.merged_bytes, torch.cuda.mem_get_info(self._device)[0]
        if needed > free / 2:
            raise torch.OutOfMemoryError(
                f"that takes {needed / 1e9:.1f} GB, more than half of the {free / 1e9:.1f} GB of "
                "memory that are free"
            )

    def _record(self, rows: list[Row]) -> None:
        began = time.perf_counter()
        try:
            self._graphs = CudaGraphs(self._encoder, rows, self._device)
        except RuntimeError as error:
            log.error("no CUDA graphs, so short queries are slower: %s", error)  # noqa: TRY400
        self._recorded_s = time.perf_counter() - began
