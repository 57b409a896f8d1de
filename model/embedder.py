"""Embedder: a loaded model, and `load`, the entry point of this package.

    from model import embedder
    quintet = embedder.load("quintet-mini")
    vectors = quintet.embed_texts(["Guten Morgen!", "Good morning!"], task="text-matching")

R rows, S spans, D hidden.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.checkpoint import load_encoder
from model.config import read_config
from model.cpus import usable_cpus
from model.cuda_graphs import CudaGraphs, check_same
from model.devices import as_current_device, device_named, dtype_named, usable_after
from model.encoder import Encoder
from model.hub import locate
from model.merging import MergePolicy
from model.packing import PackedBatch, batches, example, pack, with_padding_row
from model.pooling import mean_over_spans
from model.python_api import PythonApi
from model.rows import Row, Vectors
from model.tasks import Tasks
from model.tokenizer import Tokenizer

log = logging.getLogger("quintet.model")

# Tokens of one forward pass of `embed`: more make a CPU's matrix products no faster, and take more
# memory for activations.
DEFAULT_BATCH_TOKENS = 8192


class LaunchedBatch:
    """A batch that the device computes, or has computed."""

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors

    def read(self) -> Vectors:
        """Its vectors (S, D) float32, not normalised; waits for the device, on any thread."""
        return self._vectors.cpu().numpy()


class Embedder(PythonApi):
    """A loaded model on one device. Not thread-safe: a device computes one batch at a time."""

    def __init__(
        self, encoder: Encoder, tokenizer: Tokenizer, device: torch.device, name: str = "model"
    ) -> None:
        self.name = name
        self.encoder = encoder
        self.config = encoder.config
        self.dtype = str(encoder.embedding.word.dtype).removeprefix("torch.")
        self.device = device
        self.tasks = Tasks(encoder.config)
        self.tokenizer = tokenizer
        self._graphs: CudaGraphs | None = None
        self._merge_policy = MergePolicy() if device.type == "cpu" else None

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
        """The device in words: "cpu, 2 threads" or "cuda:0, NVIDIA H200, with CUDA graphs"."""
        return f"{self.device}, {self.hardware}"

    @property
    def hardware(self) -> str:
        """What the device is: "2 threads" or "NVIDIA H200, with CUDA graphs"."""
        if self.device.type == "cuda":
            recorded = "with" if self._graphs else "without"
            return f"{torch.cuda.get_device_name(self.device)}, {recorded} CUDA graphs"
        return f"{torch.get_num_threads()} threads"

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
        """Rows -> the tensors of one forward pass, on the device; on a CPU with a padding row."""
        with as_current_device(self.device):
            return pack(with_padding_row(rows) if self.device.type == "cpu" else rows, self.device)

    @torch.inference_mode()
    def forward(self, batch: PackedBatch) -> Tensor:
        """One forward pass: a packed batch -> vectors (S, D) float32 on the device, not normalised.

        On a GPU this returns before the work is done, like any torch operation.
        """
        with as_current_device(self.device):
            hidden = None if self._graphs is None else self._graphs.hidden(batch)
            if hidden is None:
                hidden = self.encoder(batch, merged=self._merge_if_worthwhile(batch))
            return mean_over_spans(hidden, batch)

    @property
    def asynchronous(self) -> bool:
        """Whether `launch` returns before the batch is computed."""
        return self.device.type == "cuda"

    def launch(self, batch: PackedBatch) -> LaunchedBatch:
        """Begin a forward pass; its vectors are read later."""
        return LaunchedBatch(self.forward(batch))

    def _merge_if_worthwhile(self, batch: PackedBatch) -> bool:
        """Merge weights for this batch if that pays; whether there are merged ones for it."""
        adapter = batch.only_adapter
        pays = self._merge_policy is not None and self._merge_policy.should_merge(batch)
        if pays and adapter != self.encoder.merged_adapter:
            try:
                self.encoder.merge(adapter)
            except (RuntimeError, MemoryError) as error:  # batches need the memory more
                log.warning("weights are not merged, so long runs of a task are slower: %s", error)
                self.encoder.unmerge()
                self._merge_policy = None
        return adapter == self.encoder.merged_adapter

    def warm_up(self, max_batch_tokens: int = 0) -> None:
        """Load kernels and, on a GPU, record CUDA graphs, so that the first request is not slow.

        With `max_batch_tokens`, batches of that many tokens and of the longest text are run too:
        if one does not fit into the device's memory, an error is logged. Graphs belong to the
        calling thread, which must be the one that calls `forward`.

        Raises:
            RuntimeError: the device does not work, or not as it did before the recording.
        """
        batch = self.pack(example(self.config, tokens=32))
        expected = self.forward(batch).cpu()
        if self.encoder.attention.recordable:
            self._record(batch)
            check_same(self.forward(batch).cpu(), expected, "after graphs were recorded")
        if max_batch_tokens:
            longest = self.config.max_tokens
            self._check_fits(example(self.config, max_batch_tokens))
            self._check_fits(example(self.config, longest, row_tokens=longest))

    @torch.inference_mode()
    def _record(self, batch: PackedBatch) -> None:
        try:
            with as_current_device(self.device):
                self._graphs = CudaGraphs(self.encoder, batch)
        except RuntimeError as error:
            log.error("no CUDA graphs, so short queries are slower: %s", error)  # noqa: TRY400

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
        max_batch_tokens: int = DEFAULT_BATCH_TOKENS,
        *,
        progress: bool | None = False,
    ) -> Vectors:
        """Rows -> vectors (S, D) float32, one for each span, in order, not normalised.

        `progress` shows a bar on standard error; None does where that is a terminal.
        """
        from tqdm.auto import tqdm  # noqa: PLC0415  (slow to import)

        embedded = [np.empty((0, self.config.hidden_size), np.float32)]
        parts = list(batches(rows, max_batch_tokens))
        no_bar = None if progress is None and len(parts) > 1 else not progress
        total = sum(map(len, rows))
        with tqdm(total=total, unit=" tokens", unit_scale=True, disable=no_bar) as bar:
            for batch in parts:
                embedded.append(self.forward(self.pack(batch)).cpu().numpy())
                bar.update(sum(map(len, batch)))
        return np.concatenate(embedded)


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
    the hardware computes in it, else float32. `threads` is the number of compute threads on a CPU;
    None is one for each core that the process may use.

    Raises:
        CheckpointError: there is no such model, device or dtype, or this encoder cannot compute the
            checkpoint; the message says why.
    """
    torch_device = device_named(str(device))
    torch_dtype = dtype_named(dtype, torch_device)
    folder = model.expanduser() if isinstance(model, Path) else locate(model, revision)
    # torch counts cores (or takes OMP_NUM_THREADS) and does not look at a container's CPU quota.
    torch.set_num_threads(threads or min(torch.get_num_threads(), usable_cpus()))
    config = read_config(folder)
    tokenizer = Tokenizer(folder, config)
    encoder = load_encoder(folder, config, torch_device, torch_dtype)
    return Embedder(encoder, tokenizer, torch_device, name=str(model))
