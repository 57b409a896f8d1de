"""GPU kernels: what is between the matrix products and attention, in one pass over memory each.

- `turn` rotates the pairs of q and k.
- `add_norm` adds what a layer gives to what it has read, and normalises the sum.

Each is there twice: in torch's operations, which take two to six passes, and in Triton
(triton_kernels.py). `choose_kernels` compiles Triton's when a model is loaded and compares them
with the others. Triton needs a C compiler, and a folder (TRITON_CACHE_DIR) from which it may load
what it has written.

T tokens, K numbers of a head, D hidden.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

log = logging.getLogger("quintet.model")


@dataclass(frozen=True, slots=True)
class Kernels:
    """One version of the kernels.

    turn: qkv (T, 3 * D), and cos and sin of the angles (T, K / 2) float32 -> q and k (T, 2 * D)
    with their pairs rotated. The elements of a pair are neighbours, as in encoder.Rotary.

    add_norm: writes the norm of x + y + z to `out`, all (T, D); z may be None. x and `out` may be
    some of the columns of a wider tensor.
    """

    name: str
    turn: Callable[[Tensor, Tensor, Tensor], Tensor]
    add_norm: Callable[[Tensor, Tensor, Tensor | None, nn.LayerNorm, Tensor], None]


def torch_turn(qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """See Kernels."""
    pairs = qkv[:, : 2 * qkv.shape[1] // 3].float().unflatten(1, (-1, cos.shape[1], 2))
    a, b = pairs.unbind(-1)  # (T, 2 * H, K / 2)
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).to(qkv.dtype).flatten(1)


def torch_add_norm(x: Tensor, y: Tensor, z: Tensor | None, norm: nn.LayerNorm, out: Tensor) -> None:
    """See Kernels."""
    out.copy_(norm(x + y if z is None else x + y + z))


TORCH_KERNELS = Kernels("torch's operations", torch_turn, torch_add_norm)


def choose_kernels(width: int, head_size: int, dtype: torch.dtype, device: torch.device) -> Kernels:
    """Triton's, compiled for a model of that width, or torch's operations where that fails."""
    if device.type != "cuda":
        return TORCH_KERNELS
    try:
        from model import triton_kernels  # noqa: PLC0415  (Triton comes with CUDA builds of torch)

        kernels = Kernels("Triton", triton_kernels.turn, triton_kernels.add_norm)
        check_kernels(kernels, width, head_size, dtype, device)
    except Exception as error:  # noqa: BLE001  (Triton's errors are of many classes)
        why = " ".join(str(error).split("\n\n")[0].split())
        log.error("no kernels in Triton, so all batches are slower: %s", why)  # noqa: TRY400
        return TORCH_KERNELS
    return kernels


@torch.inference_mode()
def check_kernels(
    kernels: Kernels, width: int, head_size: int, dtype: torch.dtype, device: torch.device
) -> None:
    """Compare kernels with torch's operations on random inputs.

    Raises:
        RuntimeError: they give other values.
    """
    random = torch.Generator().manual_seed(0)

    def normal(*size: int, of: torch.dtype = dtype) -> Tensor:
        return torch.randn(*size, generator=random).to(device, of)

    tokens = 37  # any
    angles = normal(tokens, head_size // 2, of=torch.float32)
    turning = normal(tokens, 3 * width), angles.cos(), angles.sin()
    pairs = [(kernels.turn(*turning), torch_turn(*turning))]
    wide, y, z = normal(tokens, width + 8), normal(tokens, width), normal(tokens, width)
    norm = nn.LayerNorm(width, device=device, dtype=dtype)
    for x, more in ((wide[:, :width], z), (y, None)):
        found, expected = (normal(tokens, width + 8)[:, :width] for _ in range(2))
        kernels.add_norm(x, y, more, norm, found)
        torch_add_norm(x, y, more, norm, expected)
        pairs.append((found, expected))
    for found, expected in pairs:
        worst = (found.float() - expected.float()).abs().max().item()
        if not worst <= 64 * torch.finfo(dtype).eps:  # also if it is NaN
            raise RuntimeError(f"they give other values: a difference of {worst:.4g}")
