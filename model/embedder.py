"""Embedder: the one door of the model room.

    from model import embedder
    quintet = embedder.load("model/mini")
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
from model.cpus import usable_cpus
from model.encoder import Encoder
from model.graphs import Graphs
from model.packing import PackedBatch, pack, rounded_up
from model.pooling import mean_over_spans
from model.rows import Row, Vectors
from model.tasks import Tasks
from model.tokenizer import Reading, Tokenizer

log = logging.getLogger("quintet.model")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Tokens of one forward pass where the caller does not batch by itself: past this, more tokens make
# a CPU's products no faster, and activations stay small.
DEFAULT_BATCH_TOKENS = 8192


class Embedder:
    """A loaded model. Not for several threads at once: a device does one batch after the other."""

    def __init__(self, encoder: Encoder, tokenizer: Tokenizer, device: torch.device) -> None:
        self.encoder = encoder
        self.config = encoder.config
        self.device = device
        self.tasks = Tasks(encoder.config)
        self.tokenizer = tokenizer
        self._graphs: Graphs | None = None

    @property
    def dtype(self) -> str:
        """The name of the dtype of the weights: float32, bfloat16 or float16."""
        return str(self.encoder.embedding.word.dtype).removeprefix("torch.")

    @property
    def attention(self) -> str:
        """The name of the attention kernel in use."""
        return self.encoder.attention.name

    @property
    def device_name(self) -> str:
        """The device for people: "cpu, 2 threads" or "cuda:0, NVIDIA H200, with CUDA graphs"."""
        if self.device.type == "cuda":
            recorded = "with" if self._graphs else "without"
            name = torch.cuda.get_device_name(self.device)
            return f"{self.device}, {name}, {recorded} CUDA graphs"
        return f"{self.device}, {torch.get_num_threads()} threads"

    @property
    def parameters(self) -> int:
        """How many numbers base and adapters have together."""
        return self.encoder.numbers

    def survives(self, error: Exception) -> bool:
        """Whether the device still works after an error of `pack` or `forward`.

        Running out of memory is survived, and so is anything on a CPU; another CUDA error leaves
        the process without a device.
        """
        return isinstance(error, torch.OutOfMemoryError) or self.device.type != "cuda"

    def free_memory(self) -> None:
        """Give memory that no tensor has back to the device. Not while an error is handled: its
        trace has the tensors of the pass that failed."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def pack(self, rows: Sequence[Row]) -> PackedBatch:
        """Rows -> the tensors of one forward pass, on the device."""
        return pack(rounded_up(rows) if self.device.type == "cpu" else rows, self.device)

    @torch.inference_mode()
    def forward(self, batch: PackedBatch) -> Tensor:
        """One forward pass: a packed batch -> vectors (S, D) float32 on the device, not normalised.

        On a GPU this returns before the work is done, like any torch operation.
        """
        hidden = None if self._graphs is None else self._graphs.hidden(batch)
        return mean_over_spans(self.encoder(batch) if hidden is None else hidden, batch)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Have the first request find everything loaded: kernels, and on a GPU recorded graphs.

        Those belong to the calling thread, which must be the one that calls `forward`.
        """
        row = Row.whole(np.zeros(16, np.int32), 0)
        batch = self.pack([row])
        self.forward(batch).cpu()
        if self.device.type == "cuda" and self.encoder.attention.recordable:
            try:
                self._graphs = Graphs(self.encoder, batch)
            except RuntimeError as error:
                log.error("no CUDA graphs, so short queries are slower: %s", error)  # noqa: TRY400

    def embed(self, rows: Sequence[Row], max_batch_tokens: int = DEFAULT_BATCH_TOKENS) -> Vectors:
        """Rows -> vectors (S, D) float32, one for each span, in order, not normalised."""
        batches = [
            self.forward(self.pack(batch)).cpu().numpy()
            for batch in _batches(rows, max_batch_tokens)
        ]
        return np.concatenate(batches) if batches else np.empty((0, self.config.hidden_size), "f4")

    def embed_texts(
        self,
        texts: list[str],
        task: str | None = None,
        *,
        late_chunking: bool = False,
        dimensions: int | None = None,
    ) -> Vectors:
        """Texts -> unit vectors (len(texts), dimensions or D) float32.

        `task` None is the base model without adapter and instruction. With `late_chunking` all
        texts are one document and each is pooled out of the shared context.

        Raises:
            UnknownTaskError: the model has no such task.
            TooManyTokensError: a text, or the document, is over the model's limit.
        """
        reading = Reading(late_chunking=late_chunking)
        inputs = self.tokenizer.rows(texts, self.tasks.named(task), reading)
        vectors = inputs.vectors(self.embed(inputs.rows))[:, :dimensions]
        # Cut first: cutting shortens a vector.
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def load(
    folder: str | Path, device: str = "cpu", dtype: str = "auto", threads: int | None = None
) -> Embedder:
    """Load a checkpoint folder in either published layout.

    `device` is torch's word ("cpu", "cuda:0") or auto, the first GPU or else the CPU. `dtype` is
    float32, bfloat16, float16, or auto: bfloat16 where the hardware computes in it, else float32.
    `threads` is how many this process computes with on a CPU; None is one for each core that it
    may use.

    Raises:
        CheckpointError: the folder is not a checkpoint that this encoder computes, or the dtype is
            unknown; the sentence says why.
    """
    folder, place = Path(folder), _device(device)
    if dtype not in (*DTYPES, "auto"):
        raise CheckpointError(f"unknown dtype {dtype!r}; choose {', '.join(DTYPES)} or auto.")
    # Torch counts cores (or takes OMP_NUM_THREADS), and knows nothing of a container's quota.
    torch.set_num_threads(threads or min(torch.get_num_threads(), usable_cpus()))
    config = read_config(folder)
    tokenizer = Tokenizer(folder, config)
    stored = best_dtype(place) if dtype == "auto" else DTYPES[dtype]
    return Embedder(load_encoder(folder, config, place, stored), tokenizer, place)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError:
        raise CheckpointError(
            f"unknown device {name!r}; choose cpu, cuda:0, ... or auto."
        ) from None


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it (CUDA sm80+, CPU with AMX or AVX512-BF16).

    Elsewhere float32: bfloat16 without the instructions, and float16 on any CPU, are slower.
    """
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def _batches(rows: Sequence[Row], max_batch_tokens: int) -> Iterator[Sequence[Row]]:
    """Neighbouring rows of at most `max_batch_tokens` together; a longer row goes alone."""
    start, tokens = 0, 0
    for index, row in enumerate(rows):
        if tokens and tokens + len(row) > max_batch_tokens:
            yield rows[start:index]
            start, tokens = index, 0
        tokens += len(row)
    if start < len(rows):
        yield rows[start:]
