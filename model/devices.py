"""Devices: a device's name -> torch's, or an error that says what the machine has."""

import contextlib
import logging
import os
import re
import shutil
import warnings
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from model.config import CheckpointError
from model.quoting import quoted

log = logging.getLogger("quintet.model")

# cudaErrorMemoryAllocation, of memory that torch does not manage itself.
_CUDA_OUT_OF_MEMORY = 2
_DRIVER = Path("/proc/driver/nvidia/version")
# The oldest driver for each generation of CUDA: "CUDA Minor Version Compatibility" in
# https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/
_OLDEST_DRIVER = {"12": "525", "13": "580"}


def device_named(name: str) -> torch.device:
    """The device of that name: cpu, cuda (the current GPU), cuda:N, or auto.

    `auto` is the first GPU, or the CPU if torch can use none; if the machine has a GPU driver, the
    log says why the GPU is not used.

    Raises:
        CheckpointError: there is no such device, or it cannot be used; the message says why and
            what to choose.
    """
    if name == "auto":
        return _best()
    if name == "cpu":
        return torch.device("cpu")
    found = re.fullmatch(r"cuda(?::(\d+))?", name)
    if found is None:
        raise CheckpointError(
            f"unknown device {quoted(name)}; the encoder computes on a CPU or an NVIDIA GPU. "
            f"Choose {_choices()}."
        )
    index = int(found[1] or 0)
    count = torch.cuda.device_count()
    if 0 < count <= index:
        raise CheckpointError(f"{name} is not here. Choose {_choices()}.")
    if not _gpu_available():
        raise CheckpointError(f"{name} cannot be used: {_why_no_gpu()}. Choose cpu or auto.")
    return torch.device("cuda", torch.cuda.current_device() if found[1] is None else index)


def as_current_device(device: torch.device) -> AbstractContextManager[object]:
    """A context in which a GPU is the calling thread's current one: streams, graphs and pinned
    memory, for which torch takes no device, belong to it."""
    if device.type == "cuda":
        return torch.cuda.device(device)
    return contextlib.nullcontext()


def usable_after(device: torch.device, error: Exception) -> bool:
    """Whether the device still works after an error of work on it.

    Only errors of CUDA itself make a device unusable for the process. Running out of memory does
    not, nor does an error of Python or of a library such as cuBLAS; if that hides an error of CUDA,
    the next operation on the device raises it.
    """
    if device.type != "cuda" or not isinstance(error, torch.AcceleratorError):
        return True
    return getattr(error, "error_code", None) == _CUDA_OUT_OF_MEMORY


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it (CUDA sm80+, CPU with AMX or AVX512-BF16).

    Elsewhere float32: products of bfloat16 without the instructions, and of float16 on any CPU, are
    slower.
    """
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        # The last two are what torch and oneDNN may use; environment variables can lower that.
        native = (
            (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
            and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
            and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        )
    return torch.bfloat16 if native else torch.float32


def _best() -> torch.device:
    if _gpu_available():
        return torch.device("cuda", 0)
    driver = _driver()
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if driver is not None and not hidden:
        level = logging.ERROR if _built_for_gpus() else logging.WARNING
        why = _why_no_gpu()
        log.log(level, "computing on the CPU, though there is a driver for a GPU: %s.", why)
    return torch.device("cpu")


def _gpu_available() -> bool:
    with warnings.catch_warnings():  # `_why_no_gpu` has the content of torch's warning
        warnings.simplefilter("ignore")
        return torch.cuda.is_available()


def _choices() -> str:
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return f"{', '.join([*gpus, 'cpu'])} or auto"


def _built_for_gpus() -> bool:
    return torch.version.cuda is not None or torch.version.hip is not None


def _why_no_gpu() -> str:
    """Why torch can use no GPU, as a sentence without its full stop."""
    version = f"torch {torch.__version__}"
    if not _built_for_gpus():
        return f"the installed {version} is built without CUDA"
    try:
        torch.cuda.init()
        reason = "no GPU is visible"
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
    facts = [reason, f"driver {_driver() or 'none'}"]
    if (cuda := torch.version.cuda) is not None:
        oldest = _OLDEST_DRIVER.get(cuda.partition(".")[0])
        needs = f", which needs driver {oldest} or newer" if oldest else ""
        facts.append(f"{version} is built with CUDA {cuda}{needs}")
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        facts.append(f"CUDA_VISIBLE_DEVICES is {visible!r}")
    return "; ".join(facts)


def _driver() -> str | None:
    """The version of NVIDIA's driver, "of an unknown version", or None if there is no driver.

    A container sees the host's kernel module even if it has no GPU.
    """
    with contextlib.suppress(OSError):
        found = re.search(r"\b\d+\.\d+(\.\d+)?\b", _DRIVER.read_text(encoding="utf-8"))
        return found[0] if found else "of an unknown version"
    nodes = any(Path("/dev").glob("nvidia[0-9]*"))
    return "of an unknown version" if nodes or shutil.which("nvidia-smi") else None
