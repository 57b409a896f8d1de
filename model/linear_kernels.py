"""Linear kernels: a linear layer's matrix product fused with GELU or a residual sum.

    y = x @ weight.T + bias, then GELU (exact) or + residual

T tokens. `choose_linear_kernel` picks one of two kernels when a model is loaded. oneDNN's reorders
the weights beforehand and fuses the sum, and GELU but with AVX2, without another pass over y: 1.1
times as fast as torch's at 2,048 tokens, and 1.8 times at 16. FBGEMM's, which precision.py chooses,
reads weights in float16, half of what has to come from memory: with AVX2 and 1,024 wide it takes
.55 of the time of oneDNN's in float32 at 16 tokens, .85 at 1,024 (tests/bench/README.md). Their
operations are private to torch, so each is tried on small inputs first, and torch's own operations
are the alternative.
"""

import logging
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

log = logging.getLogger("quintet.model")

# oneDNN reorders weights for one number of tokens; 16 to 2,048 run as fast with it (measured).
_PREPACKED_FOR_TOKENS = 256


class TorchLinear(nn.Module):
    """torch's public operations, on any device. weight (out, in), bias (out,) or None.

    Both kernels have the same methods. A residual is never combined with GELU.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self._gelu = gelu

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x (T, in), residual (T, out) -> (T, out)."""
        if residual is not None and self.bias is None:  # one kernel in place of two
            return torch.addmm(residual, x, self.weight.t())
        y = F.linear(x, self.weight, self.bias)
        if self._gelu:
            return F.gelu(y)
        return y if residual is None else residual + y

    def dense_weight(self) -> Tensor:
        """The weight (out, in) as it was given."""
        return self.weight


class OneDnnLinear:
    """oneDNN's fused product with reordered weights, on a CPU."""

    def __init__(self, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _PREPACKED_FOR_TOKENS)
        self._bias = bias
        # With AVX2 oneDNN's GELU takes three times as long as torch's own (tests/bench/README.md).
        fused = torch.backends.cpu.get_cpu_capability() != "AVX2"
        self._activation = "gelu" if gelu and fused else "none"
        self._gelu_after = gelu and not fused

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x (T, in), residual (T, out) -> (T, out)."""
        run = torch.ops.mkldnn._linear_pointwise
        y: Tensor
        if residual is None:
            y = run(x, self._weight, self._bias, self._activation, [], "none")
            if self._gelu_after:
                torch.ops.aten.gelu_(y)
        else:
            y = run.binary(x, residual, self._weight, self._bias, "add")
        return y

    def dense_weight(self) -> Tensor:
        """The weight (out, in) as it was given."""
        dense: Tensor = self._weight.to_dense()
        return dense


class FbgemmLinear:
    """FBGEMM's product of weights in float16 with float32 numbers, on a CPU.

    Weights are rounded to float16 (those of a bfloat16 checkpoint hardly ever have to be), and all
    else is float32. For wide layers: stacks of adapters are faster in oneDNN's kernel.
    https://github.com/pytorch/FBGEMM/blob/main/include/fbgemm/FbgemmFP16.h

    Raises:
        OverflowError: a weight is out of the range of float16, or no number.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> None:
        largest = float(weight.abs().max())  # NaN if there is one
        if not largest <= torch.finfo(torch.float16).max:  # FBGEMM makes it the largest number
            raise OverflowError(f"a weight of {largest:.3g} is out of the range of float16")
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight.float(), bias)
        self._gelu = gelu

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x (T, in), residual (T, out) -> (T, out)."""
        y: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._packed)
        if self._gelu:
            torch.ops.aten.gelu_(y)
        return y if residual is None else y.add_(residual)

    def dense_weight(self) -> Tensor:
        """The weight (out, in) as it was given, rounded to float16."""
        dense: Tensor = torch.ops.quantized.linear_unpack_fp16(self._packed)[0]
        return dense


LinearKernel = TorchLinear | OneDnnLinear | FbgemmLinear


@dataclass(frozen=True, slots=True)
class LinearKernels:
    """The kernels of an encoder: of the layers' weights, and of the narrow stacks of adapters."""

    weights: type[LinearKernel]
    stacks: type[LinearKernel]


def choose_linear_kernel(device: torch.device, dtype: torch.dtype) -> type[LinearKernel]:
    """The fastest kernel that this device and this build of torch have."""
    if device.type == "cpu" and dtype in (torch.float32, torch.bfloat16):
        reason = why_not(OneDnnLinear, dtype)
        if reason is None:
            return OneDnnLinear
        log.warning("oneDNN's prepacked products cannot be used: %s", reason)
    return TorchLinear


def why_not(kernel: type[LinearKernel], dtype: torch.dtype) -> str | None:
    """Why a kernel cannot be used with this build of torch and this CPU, or None if it can."""
    try:
        return None if matches_torch(kernel, dtype) else "it gives other values"
    except (AttributeError, RuntimeError, TypeError) as error:
        return str(error).split("\n", 1)[0]


def matches_torch(kernel: type[LinearKernel], dtype: torch.dtype) -> bool:
    """Whether a kernel computes what TorchLinear does, on small random inputs of each kind."""
    random = torch.Generator().manual_seed(0)
    x, weight, bias, residual = (
        torch.randn(shape, generator=random).to(dtype)
        for shape in ((5, 32), (48, 32), (48,), (5, 48))
    )
    weight = weight.half().to(dtype)  # which is what FBGEMM makes of it
    tolerance = 1e-4 if dtype == torch.float32 else 0.2
    with torch.inference_mode():
        return all(
            torch.allclose(
                kernel(weight, bias, gelu=gelu)(x, more),
                TorchLinear(weight, bias, gelu=gelu)(x, more),
                atol=tolerance,
            )
            for gelu, more in ((False, None), (True, None), (False, residual))
        )
