"""int8 linear layers on a CPU: weights quantised by output channel, activations by token.

    x[t] ~ s[t] * (q[t] - 128), q in 1..255;  weight[o] ~ w[o] * v[o], v in -m..m
    y[t, o] = s[t] * w[o] * sum_i (q[t, i] - 128) * v[o, i] + addend[t, o], then GELU

T tokens. s (T, 1) is each token's largest number divided by 127 and w (out,) each output channel's
largest weight divided by m (https://arxiv.org/abs/2206.01861 (ZeroQuant), section 4.1). A scale for
the whole tensor would make a token's vector depend on its batch. m is 127, or 64 on a CPU that adds
two products in 16 bits and cuts off what does not fit, as AVX2 without VNNI does: 255 * 127 * 2 is
more than 32,767, and 255 * 64 * 2 is not. oneDNN computes the product with w and without s; s
follows in float, with the bias, the adapters' corrections and the residual. Its operations are
private to torch: they are tried, and compared with the plain product, when a model is loaded.
https://uxlfoundation.github.io/oneDNN/dev_guide_int8_computations.html
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import CheckpointError
from model.linear_kernels import LinearKernel, LinearKernels
from model.lora import AdapterMasks, padded_stack

_LARGEST = 127
_LARGEST_WITHOUT_OVERFLOW = 64
_ZERO = 128
_TINY = torch.finfo(torch.float32).tiny
# Rounded to a bfloat16, a number times this is not below itself: q stays in its range.
_ROUND_UP = 1 + 2**-8
# Numbers that are quantised at a time: their float32 values stay in the caches.
_AT_A_TIME = 2**19
# int8 that takes this many times as long as a float product has no kernel for the CPU. Narrow
# layers may take as long as in bfloat16: the tokens' scales are steps of their own there.
_MUCH_SLOWER = 2.0


def quantise_tokens(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (T, in) -> q (T, in) uint8 and the scales s (T, 1) in the dtype of x. A token of zeros has
    the scale 0. A token that is not finite has a scale that is not, and so have its results."""
    q = torch.empty(x.shape, dtype=torch.uint8)
    scales = x.new_empty(len(x), 1)
    tokens = max(1, _AT_A_TIME // x.shape[1])
    for start in range(0, len(x), tokens):
        part = slice(start, start + tokens)
        numbers = x[part].float()
        largest = numbers.abs().amax(1, keepdim=True)
        scales[part] = largest.mul_(_ROUND_UP / _LARGEST)
        inverse = scales[part].float().clamp(min=_TINY).reciprocal_()
        # A conversion to uint8 cuts off what is behind the point.
        q[part] = numbers.mul(inverse).add_(_ZERO + 0.5)
    return q, scales


@cache
def largest_weight() -> int:
    """m of this CPU: 127, unless sums of the largest numbers come out too small.

    Raises:
        AttributeError, RuntimeError, TypeError: this build of torch has no such product.
    """
    tokens, weight = torch.full((1, 32), 255, dtype=torch.uint8), torch.full((32, 32), _LARGEST)
    prepared = torch.ops.onednn.qlinear_prepack(weight.to(torch.int8), None)
    found = _product(tokens, prepared, (torch.ones(32), _zeros(32)), torch.float32)
    exact = (255 - _ZERO) * _LARGEST * 32
    return _LARGEST if float(found.min()) > 0.9 * exact else _LARGEST_WITHOUT_OVERFLOW


def _product(
    q: Tensor, weight: Tensor, scales_and_zeros: tuple[Tensor, Tensor], dtype: torch.dtype
) -> Tensor:
    """q (T, in) uint8, weight prepared (out, in), its scales and zero points (out,) -> (T, out)."""
    y: Tensor = torch.ops.onednn.qlinear_pointwise(
        *(q, 1.0, _ZERO, weight, *scales_and_zeros),
        *(None, 1.0, 0, dtype, "none", [], ""),
    )
    return y


def _zeros(outputs: int) -> Tensor:
    return torch.zeros(outputs, dtype=torch.int32)


class Int8Linear:
    """A linear layer in int8, on a CPU. weight (out, in) has any floating dtype."""

    def __init__(self, weight: Tensor, *, gelu: bool = False) -> None:
        numbers = weight.float()
        scales = numbers.abs().amax(1).div_(largest_weight())
        inverse = scales.clamp(min=_TINY).reciprocal_()
        quantised = numbers.mul(inverse[:, None]).round_().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(quantised, None)
        self._scales_and_zeros = scales, _zeros(len(weight))
        self._gelu = gelu

    def __call__(self, x: Tensor, addend: Tensor) -> Tensor:
        """x (T, in), addend (T, out) or (out,) in the dtype of x -> (T, out)."""
        q, scales = quantise_tokens(x)
        product = _product(q, self._weight, self._scales_and_zeros, x.dtype)
        y = torch.addcmul(addend, product, scales)
        return F.gelu(y) if self._gelu else y


class Int8AdaptedLinear(nn.Module):
    """AdaptedLinear in int8: the weight is quantised, the corrections of the adapters are not.

    y[t] = weight @ x[t] + bias + b @ (mask[t] * (a @ x[t])), then GELU or + residual[t]

    weight (out, in), bias (out,), a (A, r, in), b (A, out, r).
    """

    def __init__(
        self,
        kernels: LinearKernels,
        weight: Tensor,
        bias: Tensor,
        lora: tuple[Tensor, Tensor],
        *,
        gelu: bool = False,
    ) -> None:
        super().__init__()
        self.num_parameters = sum(tensor.numel() for tensor in (weight, bias, *lora))
        self._rank = lora[0].shape[1]
        down, up = padded_stack(*lora)
        self._stack = up.shape[1]  # R
        self._down = kernels.stacks(down, None)
        self._up = kernels.stacks(up, bias)
        self._bias = bias
        self._linear = Int8Linear(weight, gelu=gelu)

    def forward(
        self, x: Tensor, masks: AdapterMasks | None, residual: Tensor | None = None
    ) -> Tensor:
        """x (T, in), and residual (T, out) if there is one -> (T, out)."""
        if masks is None:
            return self._linear(x, self._bias if residual is None else residual + self._bias)
        low = self._down(x)[:, : self._stack] * masks.mask(self._rank)  # (T, R)
        return self._linear(x, self._up(low, residual))


def check_int8(
    device: torch.device, dtype: torch.dtype, kernel: type[LinearKernel], shape: tuple[int, int]
) -> float:
    """How many times as fast as `kernel` an int8 layer of that shape (out, in) is, on 256 tokens.

    Raises:
        CheckpointError: this device, this build of torch or this CPU cannot compute in int8, or
            does so without kernels of its own.
    """
    if device.type != "cpu":
        raise CheckpointError(f"int8 computes on a CPU only; for {device} choose bfloat16 or auto.")
    random = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(256, shape[1], generator=random), torch.randn(shape, generator=random))
    x, weight = x.to(dtype), weight.to(dtype)
    none = torch.zeros(shape[0], dtype=dtype)
    try:
        with torch.inference_mode():
            quantised, plain = Int8Linear(weight), kernel(weight, none)
            few = quantised(x[:8], none).float(), plain(x[:8]).float()
            error = float((few[0] - few[1]).norm() / few[1].norm())
            slower = _times_as_long(lambda: quantised(x, none), lambda: plain(x))
    except (AttributeError, RuntimeError, TypeError) as refused:
        reason = f"torch {torch.__version__} has no such product here: {refused}".split("\n", 1)[0]
    else:
        if error < 0.05 and slower < _MUCH_SLOWER:
            return 1 / slower
        reason = f"a product takes {slower:.1f} times as long as in float"
        if error >= 0.05:
            reason = f"a product is off by {error:.0%}"
    raise CheckpointError(f"int8 does not pay on this CPU: {reason}; choose auto.")


def _times_as_long(work: Callable[[], Tensor], other: Callable[[], Tensor]) -> float:
    """How many times as long `work` computes as `other`: on one thread, in the time of its core.

    Other processes may take the cores meanwhile. While one thread of several is stopped the others
    wait, which counts as computing; and each of the two is taken at its quickest of several turns.
    """
    seconds, others = [], []
    with _one_thread():
        for _ in range(6):
            seconds.append(_seconds(work))
            others.append(_seconds(other))
    return min(seconds) / min(others)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _seconds(work: Callable[[], Tensor]) -> float:
    """Seconds that this thread computed, without those in which it waited for a core."""
    began = time.thread_time()
    work()
    return time.thread_time() - began
