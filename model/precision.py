"""Precision: the name of a dtype -> what an encoder's weights and its other numbers are."""

from dataclasses import dataclass

import torch

from model.config import CheckpointError
from model.devices import best_dtype
from model.linear_kernels import FbgemmLinear, why_not

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# From this width on FBGEMM's products take .8 to .95 of the time of oneDNN's in float32, below it
# up to 1.08 in large batches (tests/bench/README.md).
_WIDE = 512


@dataclass(frozen=True, slots=True)
class Precision:
    """`weights` names the dtype of the layers' weights: float32, bfloat16, float16 or int8.
    `activations` is the dtype of everything else: the same, but on a CPU float32 beside weights in
    float16, and the best dtype beside weights in int8."""

    weights: str
    activations: torch.dtype

    @property
    def halves_weights(self) -> bool:
        """Whether products are those of weights in float16 with float32 numbers."""
        return self.weights == "float16" and self.activations == torch.float32


def precision_named(name: str, device: torch.device, width: int) -> Precision:
    """The precision of a dtype's name, or `auto`, for an encoder of hidden size `width`.

    `auto` is the device's best dtype (`best_dtype`). Where that is float32 and the CPU has AVX2 but
    not AVX512, weights of wide encoders are float16: faster at any number of tokens, in half of the
    memory. Other CPUs without bfloat16 were not measured.

    Raises:
        CheckpointError: there is no such dtype.
    """
    if name == "int8":
        return Precision(name, best_dtype(device))
    if name == "auto":
        best = best_dtype(device)
        avx2_only = device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"
        pays = avx2_only and best == torch.float32 and width >= _WIDE
        return (_halved() if pays else None) or Precision(str(best).removeprefix("torch."), best)
    if name not in _DTYPES:
        raise CheckpointError(f"unknown dtype {name!r}; choose {', '.join(_DTYPES)}, int8 or auto.")
    halves = name == "float16" and device.type == "cpu"
    return (_halved() if halves else None) or Precision(name, _DTYPES[name])


def _halved() -> Precision | None:
    """Weights in float16 beside float32, if this build of torch has FBGEMM's product."""
    if why_not(FbgemmLinear, torch.float32) is not None:
        return None
    return Precision("float16", torch.float32)
