"""Attention: within each row of a packed batch, by the fastest kernel of the device.

T tokens, H heads, K = D / H.

All kernels have the same signature: `attend(q, k, v, batch)` with q, k, v (T, H, K) gives
(T, H, K), bidirectional softmax attention within each row, scaled by 1 / sqrt(K). q, k and v may be
slices of a larger tensor: only their last dimension is contiguous. The kernel is chosen once, when
a model is loaded, and its name is logged: there is no silent fallback to a slower one.

On a GPU `varlen(q, k, v, row_starts, longest)` does the same from tensors alone, so that a CUDA
graph can record it.

On a GPU torch's own FlashAttention needs no further package. The package flash-attn is compiled
when it is installed, against the installed torch: `pip install flash-attn --no-build-isolation`,
with nvcc, in half an hour or more.
"""

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.packing import PackedBatch, round_up

log = logging.getLogger("quintet.model")

Attend = Callable[[Tensor, Tensor, Tensor, PackedBatch], Tensor]
# q, k, v (T, H, K), row_starts (R + 1,) int32, the longest row in tokens -> (T, H, K)
VarlenAttend = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]

# FlashAttention-2 and torch's own variable-length kernel need tensor cores of this generation.
FLASH_CAPABILITY = (8, 0)
# On a CPU this many scores are computed at a time, so that they stay in the cores' caches.
_SCORES_AT_A_TIME = 1 << 21
# Rows of at least 64 tokens are long, and are padded to a multiple of 32: the first matrix product
# of each new shape costs milliseconds, so there should be few shapes.
_LONG_ROW, _LENGTH_MULTIPLE = 64, 32


@dataclass(frozen=True, slots=True)
class Attention:
    """A kernel and its name in the log."""

    name: str
    attend: Attend
    varlen: VarlenAttend | None = None


def choose_attention(device: torch.device, dtype: torch.dtype) -> Attention:
    """The fastest kernel that this device, this dtype and the installed packages allow."""
    if device.type == "cpu":
        return Attention("sdpa, products", attend_on_cpu)
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return Attention("sdpa", attend_sdpa)
    if torch.cuda.get_device_capability(device) < FLASH_CAPABILITY:
        return Attention("sdpa", attend_sdpa)
    if importlib.util.find_spec("flash_attn") is not None:
        try:
            from flash_attn import flash_attn_varlen_func  # noqa: PLC0415  (an optional extra)

            return _variable_length("flash-attn", _flash_attn_package(flash_attn_varlen_func))
        except (ImportError, OSError) as error:  # built for another torch, or only flash-attn-4
            log.error("flash_attn is installed and cannot be used: %s", error)  # noqa: TRY400
    return _variable_length("torch FlashAttention", torch_flash_attention)


def torch_flash_attention(
    q: Tensor, k: Tensor, v: Tensor, row_starts: Tensor, longest: int
) -> Tensor:
    """torch's own FlashAttention: the operation in torch.nn.attention.varlen.varlen_attn, which
    itself takes 50 us of Python a call."""
    attended: Tensor = torch.ops.aten._flash_attention_forward(
        q, k, v, row_starts, row_starts, longest, longest, 0.0, False, False
    )[0]
    return attended


def _flash_attn_package(kernel: Callable[..., Any]) -> VarlenAttend:
    def varlen(q: Tensor, k: Tensor, v: Tensor, row_starts: Tensor, longest: int) -> Tensor:
        attended: Tensor = kernel(q, k, v, row_starts, row_starts, longest, longest)
        return attended

    return varlen


def _variable_length(name: str, varlen: VarlenAttend) -> Attention:
    return Attention(
        name, lambda q, k, v, batch: varlen(q, k, v, batch.row_starts, batch.longest), varlen
    )


def attend_on_cpu(q: Tensor, k: Tensor, v: Tensor, batch: PackedBatch) -> Tensor:
    """Each long row by two matrix products with a softmax between them, short rows by torch.

    For long rows in bfloat16 this takes at most half the time of torch's CPU kernel, for short
    ones more (tests/bench/README.md). Scores have the dtype of q.
    """
    out = torch.empty_like(q)
    for run in batch.equal_rows:
        tokens = slice(run.start, run.start + run.rows * run.length)
        if run.length < _LONG_ROW:
            _attend_rectangle(q[tokens], k[tokens], v[tokens], out[tokens], run.length)
            continue
        for start in range(tokens.start, tokens.stop, run.length):
            row = slice(start, start + run.length)
            _attend_row(q[row], k[row], v[row], out[row])
    return out


def _attend_row(q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> None:
    """Write softmax(q @ k.T / sqrt(K)) @ v of one row to `out`; all are (L, H, K)."""
    length, heads, size = q.shape
    padded = round_up(length, _LENGTH_MULTIPLE)
    stacked = q.new_zeros(3, heads, padded, size)
    for into, each in zip(stacked, (q * size**-0.5, k, v), strict=True):
        into[:, :length] = each.transpose(0, 1)
    queries, keys, values = stacked
    heads_at_a_time = min(heads, max(1, _SCORES_AT_A_TIME // padded**2))
    queries_at_a_time = min(padded, max(1, _SCORES_AT_A_TIME // padded))
    attended = torch.empty_like(queries)
    scores = q.new_empty(heads_at_a_time, queries_at_a_time, padded)
    for first in range(0, heads, heads_at_a_time):
        some = slice(first, first + heads_at_a_time)
        for start in range(0, padded, queries_at_a_time):
            part = queries[some, start : start + queries_at_a_time]
            block = scores[: part.shape[0], : part.shape[1]]
            torch.bmm(part, keys[some].transpose(1, 2), out=block)
            block[:, :, length:] = -torch.inf
            torch.softmax(block, -1, out=block)
            torch.bmm(block, values[some], out=attended[some, start : start + queries_at_a_time])
    out.copy_(attended[:, :length].transpose(0, 1))


def _attend_rectangle(q: Tensor, k: Tensor, v: Tensor, out: Tensor, length: int) -> None:
    """Write the attention of rows of the same length, end to end in (T, H, K), to `out`."""
    shape = (-1, length, *q.shape[1:])
    q, k, v = (each.view(shape).transpose(1, 2) for each in (q, k, v))
    attended = F.scaled_dot_product_attention(q, k, v)
    out.view(shape).copy_(attended.transpose(1, 2))


def attend_sdpa(q: Tensor, k: Tensor, v: Tensor, batch: PackedBatch) -> Tensor:
    """One call of torch's scaled_dot_product_attention for each row length in the batch.

    Rows of the same length are neighbours (see `pack`): each call reads views, without padding.
    """
    out = torch.empty_like(q)
    for run in batch.equal_rows:
        tokens = slice(run.start, run.start + run.rows * run.length)
        _attend_rectangle(q[tokens], k[tokens], v[tokens], out[tokens], run.length)
    return out
