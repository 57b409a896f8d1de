"""Variable-length attention: every row attends to itself and to nothing else.

T tokens, H heads, K = D / H.

One contract, four kernels: `attend(q, k, v, batch)` with q, k, v (T, H, K) gives (T, H, K), full
bidirectional softmax attention within each row, scaled by 1 / sqrt(K). The kernel is chosen once,
when a model is loaded, and its name is logged: there is no silent fall from fast to slow.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.packing import PackedBatch

Attend = Callable[[Tensor, Tensor, Tensor, PackedBatch], Tensor]

# FlashAttention-2 and torch's own variable-length kernel need tensor cores of this generation.
FLASH_CAPABILITY = (8, 0)
# On a CPU so many scores are computed at a time: they stay in the cores' own caches.
_SCORES_AT_A_TIME = 1 << 20
# Tokens from which a row is long there.
_LONG_ROW = 256


@dataclass(frozen=True, slots=True)
class Attention:
    """A kernel and the name under which it is logged."""

    name: str
    attend: Attend
    recordable: bool = False  # works on tensors only, so that a CUDA graph may have it


def choose_attention(device: torch.device, dtype: torch.dtype) -> Attention:
    """The fastest kernel that this device, this dtype and the installed packages allow."""
    if device.type == "cpu":
        return Attention("sdpa, products", attend_on_cpu)
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return Attention("sdpa", attend_sdpa)
    if torch.cuda.get_device_capability(device) < FLASH_CAPABILITY:
        return Attention("sdpa", attend_sdpa)
    if importlib.util.find_spec("flash_attn") is not None:
        return Attention("flash-attn", _flash_attn(), recordable=True)
    return Attention("torch varlen_attn", _varlen_attn(), recordable=True)


def attend_on_cpu(q: Tensor, k: Tensor, v: Tensor, batch: PackedBatch) -> Tensor:
    """Long rows by two matrix products with a softmax between them, a block of scores at a time.

    In bfloat16 that takes half the time of torch's own kernel for CPUs (tests/bench/README.md), but
    each new shape costs some milliseconds once, and short rows have many: they take torch's. Scores
    have the dtype of q.
    """
    out = torch.empty_like(q)
    heads, size = q.shape[1:]
    for run in batch.equal_rows:
        tokens = slice(run.start, run.start + run.rows * run.length)
        shape = (run.rows, run.length, heads, size)
        one, two, three = (each[tokens].view(shape).transpose(1, 2) for each in (q, k, v))
        if run.length < _LONG_ROW:
            attended = F.scaled_dot_product_attention(one, two, three)
        else:
            flat = (-1, run.length, size)
            one = one * size**-0.5
            attended = _attended(one.reshape(flat), two.reshape(flat), three.reshape(flat))
        out[tokens].view(shape).copy_(attended.view(run.rows, heads, -1, size).transpose(1, 2))
    return out


def _attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q @ k.T) @ v for N sequences of L: q, k, v (N, L, K) -> (N, L, K)."""
    count, length, _ = q.shape
    together = min(count, max(1, _SCORES_AT_A_TIME // length**2))
    queries = min(length, max(1, _SCORES_AT_A_TIME // length))
    out = torch.empty_like(q)
    scores = q.new_empty(together * queries * length)
    for first in range(0, count, together):
        some = slice(first, first + together)
        for start in range(0, length, queries):
            asking, answers = q[some, start : start + queries], out[some, start : start + queries]
            shape = (len(asking), asking.shape[1], length)
            block = scores[: shape[0] * shape[1] * shape[2]].view(shape)
            torch.bmm(asking, k[some].transpose(1, 2), out=block)
            torch.softmax(block, -1, out=block)
            torch.bmm(block, v[some], out=answers)
    return out


def attend_sdpa(q: Tensor, k: Tensor, v: Tensor, batch: PackedBatch) -> Tensor:
    """One call of torch's scaled_dot_product_attention for each length in the batch.

    Rows of one length are neighbours (see packing), so each call reads views and pads nothing.
    """
    out = torch.empty_like(q)
    heads, size = q.shape[1:]
    for run in batch.equal_rows:
        tokens = slice(run.start, run.start + run.rows * run.length)
        shape = (run.rows, run.length, heads, size)
        rectangles = [each[tokens].view(shape).transpose(1, 2) for each in (q, k, v)]
        rows = F.scaled_dot_product_attention(rectangles[0], rectangles[1], rectangles[2])
        out[tokens] = rows.transpose(1, 2).reshape(-1, heads, size)
    return out


def _varlen_attn() -> Attend:
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415  (CUDA builds only)

    def attend(q: Tensor, k: Tensor, v: Tensor, batch: PackedBatch) -> Tensor:
        starts, longest = batch.row_starts, batch.longest
        out = varlen_attn(q, k, v, starts, starts, longest, longest)
        assert isinstance(out, Tensor)
        return out

    return attend


def _flash_attn() -> Attend:
    from flash_attn import flash_attn_varlen_func  # noqa: PLC0415  (an optional extra)

    def attend(q: Tensor, k: Tensor, v: Tensor, batch: PackedBatch) -> Tensor:
        starts, longest = batch.row_starts, batch.longest
        out: Tensor = flash_attn_varlen_func(q, k, v, starts, starts, longest, longest)
        return out

    return attend
