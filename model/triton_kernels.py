"""Triton kernels: `turn` and `add_norm` of gpu_kernels.Kernels, which says what they compute.

One program takes one token, in float32. A kernel is compiled at the first call for each size of a
model. It is imported where a GPU is used: Triton comes with CUDA builds of torch.
https://triton-lang.org/main/python-api/triton.language.html
"""

import triton
import triton.language as tl
from torch import Tensor, nn

# Numbers that one warp takes of a row: 8 for each of its 32 threads, 16 bytes of bfloat16.
_PER_WARP = 256


def _warps(numbers: int) -> int:
    return max(1, min(16, numbers // _PER_WARP))


@triton.jit  # type: ignore[untyped-decorator]
def _turn(qkv, cos, sin, out, width: tl.constexpr, half: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: PLR0913
    token = tl.program_id(0).to(tl.int64)
    numbers = tl.arange(0, 2 * block)
    pairs = tl.arange(0, block)
    inside = numbers < 2 * width
    both = tl.load(qkv + token * 3 * width + numbers, mask=inside, other=0.0).to(tl.float32)
    a, b = tl.split(tl.reshape(both, (block, 2)))
    c = tl.load(cos + token * half + pairs % half)
    s = tl.load(sin + token * half + pairs % half)
    turned = tl.reshape(tl.join(a * c - b * s, b * c + a * s), (2 * block,))
    tl.store(out + token * 2 * width + numbers, turned.to(out.dtype.element_ty), mask=inside)


def turn(qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """See gpu_kernels.Kernels."""
    width = qkv.shape[1] // 3
    out = qkv.new_empty(len(qkv), 2 * width)
    block = triton.next_power_of_2(width)
    warps = _warps(2 * block)
    _turn[(len(qkv),)](qkv, cos, sin, out, width, cos.shape[1], block, num_warps=warps)
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _add_norm(  # type: ignore[no-untyped-def]  # noqa: PLR0913
    x,
    y,
    z,
    weight,
    bias,
    out,
    width: tl.constexpr,
    x_stride: tl.constexpr,
    out_stride: tl.constexpr,
    eps: tl.constexpr,
    has_z: tl.constexpr,
    block: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, block)
    inside = at < width
    total = tl.load(x + token * x_stride + at, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(y + token * width + at, mask=inside, other=0.0).to(tl.float32)
    if has_z:
        total += tl.load(z + token * width + at, mask=inside, other=0.0).to(tl.float32)
    centred = tl.where(inside, total - tl.sum(total, 0) / width, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 0) / width + eps)
    w = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + at, mask=inside, other=0.0).to(tl.float32)
    normed = (centred * scale * w + b).to(out.dtype.element_ty)
    tl.store(out + token * out_stride + at, normed, mask=inside)


def add_norm(x: Tensor, y: Tensor, z: Tensor | None, norm: nn.LayerNorm, out: Tensor) -> None:
    """See gpu_kernels.Kernels."""
    width = y.shape[1]
    block = triton.next_power_of_2(width)
    tensors = x, y, y if z is None else z, norm.weight, norm.bias, out
    sizes = width, x.stride(0), out.stride(0), norm.eps, z is not None, block
    _add_norm[(len(y),)](*tensors, *sizes, num_warps=_warps(block))
