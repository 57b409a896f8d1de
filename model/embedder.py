"""Embedder: a loaded model, and `load`, the entry point of this package.

    from model import embedder
    quintet = embedder.load("quintet-mini")
    vectors = quintet.embed_texts(["Guten Morgen!", "Good morning!"], task="text-matching")

R rows, S spans, D hidden.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.checkpoint import load_encoder
from model.config import CheckpointError, read_config
from model.cpu_streams import CpuStreams
from model.cpus import usable_cpus
from model.devices import as_current_device, device_named, usable_after
from model.encoder import Encoder
from model.gpu_runner import Adapters, GpuRunner
from model.hub import locate
from model.launched_batch import LaunchedBatch
from model.merging import MergedCopy, MergePolicy
from model.packing import PackedBatch, batches, example, pack, with_padding_row
from model.pooling import mean_over_spans
from model.precision import Precision, precision_named
from model.python_api import PythonApi
from model.rows import Row, Vectors
from model.tasks import Tasks
from model.tokenizer import Tokenizer

log = logging.getLogger("quintet.model")

# Tokens that a device computes at once in `embed`: more make its matrix products no faster, and
# take more memory for activations. Fewer in each stream of a CPU make it slower.
_CPU_BATCH_TOKENS, _GPU_BATCH_TOKENS = 8192, 32768
_LEAST_STREAM_TOKENS = 1024


class Embedder(PythonApi):
    """A loaded model on one device. `pack` and `forward` may be called on several threads at once
    on a CPU, but a GPU computes one batch at a time."""

    def __init__(
        self,
        encoder: Encoder,
        tokenizer: Tokenizer,
        device: torch.device,
        precision: Precision,
        name: str = "model",
    ) -> None:
        self.name = name
        self.encoder = encoder
        self.config = encoder.config
        self.precision = precision
        self.dtype = precision.weights
        self.device = device
        self.tasks = Tasks(encoder.config)
        self.tokenizer = tokenizer
        varlen = encoder.attention.varlen
        self._gpu = None if varlen is None else GpuRunner(encoder, varlen)
        mergeable = device.type == "cpu" and self.dtype != "int8"
        self._merged = MergedCopy(encoder, MergePolicy()) if mergeable else None
        self._threads = torch.get_num_threads()
        self._streams = CpuStreams(self._threads) if device.type == "cpu" else None

    def __repr__(self) -> str:
        return (
            f"<Embedder {self.name}: {self.parameters / 1e6:.1f}M parameters, "
            f"{self.config.hidden_size} dimensions, {self.config.max_tokens} tokens a text, "
            f"tasks {', '.join(self.tasks.names)}; {self.dtype} on {self.device_name}>"
        )

    @property
    def attention(self) -> str:
        """The name of the attention kernel in use."""
        return self.encoder.attention.name

    @property
    def device_name(self) -> str:
        """The device in words: "cpu, 2 threads" or "cuda:0, NVIDIA H200" and GpuRunner's words."""
        return f"{self.device}, {self.hardware}"

    @property
    def hardware(self) -> str:
        """The same without the device's name."""
        if self.device.type != "cuda":
            return f"{self._threads} threads"
        name = torch.cuda.get_device_name(self.device)
        return name if self._gpu is None else f"{name}, {self._gpu}"

    @property
    def parameters(self) -> int:
        """The number of parameters of base and adapters together."""
        return self.encoder.num_parameters

    def usable_after(self, error: Exception) -> bool:
        """Whether the device still works after an error of `pack` or `forward`."""
        return usable_after(self.device, error)

    def free_memory(self) -> None:
        """Give a GPU's unused memory back. Call it after an error is handled, not meanwhile: its
        traceback holds the tensors of the pass that failed."""
        if self.device.type == "cuda":
            with as_current_device(self.device):
                torch.cuda.empty_cache()

    def pack(self, rows: Sequence[Row]) -> PackedBatch:
        """Rows -> the tensors of one forward pass, on the device. They are padded where oneDNN
        prepares kernels for each number of tokens, and on a GPU for a CUDA graph."""
        choose_shape = None if self._gpu is None else self._gpu.choose_shape
        with as_current_device(self.device):
            # FBGEMM prepares no kernels for a number of tokens: there padding would only cost time.
            prepares = self.device.type == "cpu" and not self.precision.halves_weights
            return pack(with_padding_row(rows) if prepares else rows, self.device, choose_shape)

    @torch.inference_mode()
    def forward(self, batch: PackedBatch) -> Tensor:
        """One forward pass: a packed batch -> vectors (S, D) float32 on the device, not normalised.

        On a GPU this returns before the work is done, like any torch operation.
        """
        with as_current_device(self.device):
            return mean_over_spans(self._hidden(batch), batch.spans)

    def _hidden(self, batch: PackedBatch) -> Tensor:
        if self._gpu is not None:
            return self._gpu.hidden(batch)
        weights = None if self._merged is None else self._merged.weights_for(batch)
        hidden: Tensor = self.encoder(batch, weights)
        return hidden

    @property
    def asynchronous(self) -> bool:
        """Whether `launch` returns before the batch is computed."""
        return self.device.type == "cuda"

    def launch(self, batch: PackedBatch) -> LaunchedBatch:
        """Start a forward pass, and on a GPU the copy of its results behind it."""
        with as_current_device(self.device):
            return LaunchedBatch(self.forward(batch))

    def warm_up(self, max_batch_tokens: int = 0, adapters: Adapters = "auto") -> None:
        """Load kernels, so that the first request is not slow, and make a GPU fast.

        That is to merge each adapter into a copy of the weights, if `adapters` is "merged", or
        "auto" and there is memory, and to record CUDA graphs. On a CPU "stacked" adapters are never
        merged, and with "auto" one at a time, after a while of one task; in int8 none. Graphs
        belong to the calling thread, which must be the one that calls `forward`.

        With `max_batch_tokens`, batches of that many tokens and of the longest text are run too:
        if one does not fit into the device's memory, an error is logged.

        Raises:
            RuntimeError, MemoryError: the device does not work, or not as it did before, or has no
                memory for adapters that are to be "merged".
            CheckpointError: a weight that is to be merged is out of the range of float16, or the
                vectors of an example are not finite.
        """
        if adapters == "stacked":
            self._merged = None
        elif adapters == "merged" and self._merged is not None:
            self._merged.merge_all()
        if not self.forward(self.pack(example(self.config, tokens=32))).isfinite().all():
            raise CheckpointError(
                "the vectors of an example are not finite: a weight is no number, or out of the "
                f"range of {self.dtype}."
            )
        if self._gpu is not None:
            with as_current_device(self.device):
                self._gpu.prepare(adapters)
        if max_batch_tokens:
            longest = self.config.max_tokens
            self._check_fits(example(self.config, max_batch_tokens))
            self._check_fits(example(self.config, longest, row_tokens=longest))

    def _check_fits(self, rows: list[Row]) -> None:
        try:
            self.forward(self.pack(rows)).cpu()
        except torch.OutOfMemoryError as error:
            why = str(error)
        else:
            return
        self.free_memory()
        log.error(
            "%d tokens do not fit into the memory of %s, and a batch that does not is run in "
            "halves, slowly; allow fewer tokens a batch: %s",
            *(sum(map(len, rows)), self.device_name, why),
        )

    def embed(
        self,
        rows: Sequence[Row],
        max_batch_tokens: int | None = None,
        *,
        progress: bool | None = False,
    ) -> Vectors:
        """Rows -> vectors (S, D) float32, one for each span, in order, not normalised.

        `progress` shows a bar on standard error; None does where that is a terminal.
        """
        from tqdm.auto import tqdm  # noqa: PLC0415  (slow to import)

        embedded = [np.empty((0, self.config.hidden_size), np.float32)]
        total = sum(map(len, rows))
        parts = list(batches(rows, max_batch_tokens or self._batch_tokens(total)))
        no_bar = None if progress is None and len(parts) > 1 else not progress
        with tqdm(total=total, unit=" tokens", unit_scale=True, disable=no_bar) as bar:
            for part, vectors in zip(parts, self._computed(parts), strict=True):
                embedded.append(vectors)
                bar.update(sum(map(len, part)))
        return np.concatenate(embedded)

    def _batch_tokens(self, total: int) -> int:
        """Tokens of a batch, of so many: as many to each stream of a CPU."""
        if self._streams is None:
            return _GPU_BATCH_TOKENS
        turns = -(-total // _CPU_BATCH_TOKENS)
        even = -(-total // max(1, turns * len(self._streams)))
        return min(_CPU_BATCH_TOKENS, max(even, _LEAST_STREAM_TOKENS))

    def _computed(self, parts: Sequence[Sequence[Row]]) -> Iterator[Vectors]:
        """The vectors of each batch."""
        if self._streams is not None and len(self._streams) > 1 and len(parts) > 1:
            yield from self._streams.map(lambda rows: self.launch(self.pack(rows)).read(), parts)
            return
        running = None
        for rows in parts:  # a GPU computes one while the next one is packed
            launched = self.launch(self.pack(rows))
            if running is not None:
                yield running.read()
            running = launched
        if running is not None:
            yield running.read()


def load(
    model: str | Path,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    *,
    revision: str | None = None,
) -> Embedder:
    """Load a checkpoint in either published layout.

    `model` is a folder, the embedded quintet-mini, or a hub id such as jinaai/jina-embeddings-v3,
    of which `revision` is a commit, tag or branch. `device` is cpu, cuda:0, ... or auto: the first
    GPU, or the CPU if there is none. `dtype` is float32, bfloat16, float16, or auto: bfloat16 where
    the hardware computes in it, else float32, or float16 for a wide encoder with AVX2; or int8, on
    a CPU: layers take half the memory of bfloat16, for a little precision. On a CPU float16 is
    that of the weights, and products are computed in float32 (tests/bench/README.md). `threads` is
    the number of compute threads on a CPU; None is one for each core that the process may use.

    Raises:
        CheckpointError: there is no such model, device or dtype, or this encoder cannot compute the
            checkpoint; the message says why.
    """
    torch_device = device_named(str(device))
    folder = model.expanduser() if isinstance(model, Path) else locate(model, revision)
    # torch counts cores (or takes OMP_NUM_THREADS) and does not look at a container's CPU quota.
    torch.set_num_threads(threads or min(torch.get_num_threads(), usable_cpus()))
    config = read_config(folder)
    precision = precision_named(dtype, torch_device, config.hidden_size)
    tokenizer = Tokenizer(folder, config)
    encoder = load_encoder(folder, config, torch_device, precision)
    return Embedder(encoder, tokenizer, torch_device, precision, name=str(model))
