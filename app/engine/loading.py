"""Loads a worker's model on the device that was asked for, and lets it see no other GPU."""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from app.engine.control import StartWorker, WorkerStarted
from model.config import CheckpointError, read_config
from model.fingerprint import changed, fingerprint
from model.memory import keep_fewer_shapes, keep_freed_memory

if TYPE_CHECKING:
    from model.embedder import Embedder

# Past these, larger batches make the device no faster, only single queries slower.
CPU_BATCH_TOKENS = 2048
GPU_BATCH_TOKENS = 32768
VISIBLE = "CUDA_VISIBLE_DEVICES"


def one_visible_gpu(device: str, visible: str | None) -> str | None:
    """The value of CUDA_VISIBLE_DEVICES with which a process sees the GPU `device` alone.

    `visible` is its present value, through which numbers go: with "4,5" cuda:1 is GPU 5. Entries
    may be numbers, UUIDs or MIG instances; the order of GPUs stays CUDA's own. None where the value
    has to stay as it is: the device is not cuda:N, or N is not among the entries.
    https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables
    """
    found = re.fullmatch(r"cuda:(\d+)", device)
    if found is None:
        return None
    index = int(found[1])
    if visible is None:
        return str(index)
    entries = [entry.strip() for entry in visible.split(",")]
    seen = entries[: index + 1]  # what follows an invalid entry is not visible
    if len(seen) <= index or not all(re.match(r"\d|GPU-|MIG-", entry) for entry in seen):
        return None
    return seen[index] if len(set(entries)) == len(entries) else None


def load(start: StartWorker) -> tuple["Embedder", WorkerStarted]:
    """Load a model and warm it up: before torch is imported, on the thread that computes.

    A worker on cuda:1 sees that GPU alone, as cuda:0, so that no thread of the process can compute
    on another one. Its description has the name that was asked for.

    Raises:
        CheckpointError: the model or the device cannot be used; the sentence says why.
        ImportError, MemoryError, OSError, RuntimeError: torch, the memory or the device fails.
    """
    began, folder = time.perf_counter(), Path(start.folder)
    keep_fewer_shapes()
    keep_freed_memory()
    # While another core imports torch: half a second for 1.1 GB.
    thread = ThreadPoolExecutor(1, "fingerprint")
    reading = thread.submit(lambda: fingerprint(folder, read_config(folder)))
    thread.shutdown(wait=False)
    visible = os.environ.get(VISIBLE)
    gpu = one_visible_gpu(start.device, visible)
    if gpu is not None:
        os.environ[VISIBLE] = gpu
    from model import devices, embedder  # noqa: PLC0415  (torch enters here)

    device = start.device if gpu is None else "cuda:0"
    try:
        loaded = embedder.load(folder, device, start.dtype, start.threads)
    except CheckpointError:
        if gpu is not None:  # there may be no such GPU; which there are is seen without the limit
            _restore(visible)
            devices.device_named(start.device)
        raise
    on_gpu = loaded.device.type == "cuda"
    tokens = start.max_batch_tokens or (GPU_BATCH_TOKENS if on_gpu else CPU_BATCH_TOKENS)
    loaded.warm_up(tokens if on_gpu else 0, start.adapters)
    found = reading.result()
    if start.fingerprint not in (None, found):
        raise changed(folder)
    return loaded, WorkerStarted(
        device=f"{loaded.device if gpu is None else start.device}, {loaded.hardware}",
        dtype=loaded.dtype,
        attention=loaded.attention,
        parameters=loaded.parameters,
        max_batch_tokens=tokens,
        seconds=time.perf_counter() - began,
        process=os.getpid(),
        fingerprint=found,
    )


def _restore(visible: str | None) -> None:
    del os.environ[VISIBLE]
    if visible is not None:
        os.environ[VISIBLE] = visible
