"""Variable-length attention: every row attends to itself and to nothing else.

T tokens, H heads, K = D / H.

One contract, four kernels: `attend(q, k, v, batch)` with q, k, v (T, H, K) gives (T, H, K), full
bidirectional softmax attention within each row, scaled by 1 / sqrt(K). q, k and v may be slices of
a larger tensor: only their last dimension is contiguous. The kernel is chosen once, when a model is
loaded, and its name is logged: there is no silent fall from fast to slow.

On a GPU torch's own kernel, which is a FlashAttention too, needs nothing further. The package
flash-attn is compiled where it is installed, against the torch that is there:
`pip install flash-attn --no-build-isolation`, with nvcc and half an hour or more.
"""

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.packing import PackedBatch, round_up
from model.rows import MAX_ROWS

log = logging.getLogger("quintet.model")

Attend = Callable[[Tensor, Tensor, Tensor, PackedBatch], Tensor]

# FlashAttention-2 and torch's own variable-length kernel need tensor cores of this generation.
FLASH_CAPABILITY = (8, 0)
# On a CPU so many scores are computed at a time: they stay in the cores' own caches.
_SCORES_AT_A_TIME = 1 << 21
# Tokens from which a row is long there, and of which a long row's length is made a multiple: each
# new shape of a product costs milliseconds once, so there must be few.
_LONG_ROW, _WHOLE_LENGTH = 64, 32


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
        try:
            return Attention("flash-attn", _flash_attn(), recordable=True)
        except (ImportError, OSError) as error:  # made for another torch, or flash-attn-4 alone
            log.error("flash_attn is installed and cannot be used: %s", error)  # noqa: TRY400
    return Attention("torch varlen_attn", _varlen_attn(), recordable=True)


def attend_on_cpu(q: Tensor, k: Tensor, v: Tensor, batch: PackedBatch) -> Tensor:
    """Long rows one at a time by two matrix products with a softmax between them, short ones by
    torch's own kernel.

    For long rows in bfloat16 that takes half the time or less of torch's kernel for CPUs, for
    short ones more (tests/bench/README.md). Scores have the dtype of q.
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
    """Write softmax(q @ k.T) @ v of one row to `out`; all are (L, H, K)."""
    length, heads, size = q.shape
    rounded = round_up(length, _WHOLE_LENGTH)
    filled = q.new_zeros(3, heads, rounded, size)
    for into, each in zip(filled, (q * size**-0.5, k, v), strict=True):
        into[:, :length] = each.transpose(0, 1)
    asking, keys, values = filled
    together = min(heads, max(1, _SCORES_AT_A_TIME // rounded**2))
    queries = min(rounded, max(1, _SCORES_AT_A_TIME // rounded))
    answers = torch.empty_like(asking)
    scores = q.new_empty(together, queries, rounded)
    for first in range(0, heads, together):
        some = slice(first, first + together)
        for start in range(0, rounded, queries):
            part = asking[some, start : start + queries]
            block = scores[: part.shape[0], : part.shape[1]]
            torch.bmm(part, keys[some].transpose(1, 2), out=block)
            block[:, :, length:] = -torch.inf
            torch.softmax(block, -1, out=block)
            torch.bmm(block, values[some], out=answers[some, start : start + queries])
    out.copy_(answers[:, :length].transpose(0, 1))


def _attend_rectangle(q: Tensor, k: Tensor, v: Tensor, out: Tensor, length: int) -> None:
    """Write the attention of rows of that length, end to end in (T, H, K), to `out`."""
    shape = (-1, length, *q.shape[1:])
    one, two, three = (each.view(shape).transpose(1, 2) for each in (q, k, v))
    attended = F.scaled_dot_product_attention(one, two, three)
    out.view(shape).copy_(attended.transpose(1, 2))


def attend_sdpa(q: Tensor, k: Tensor, v: Tensor, batch: PackedBatch) -> Tensor:
    """One call of torch's scaled_dot_product_attention for each length in the batch.

    Rows of one length are neighbours (see packing), so each call reads views and pads nothing.
    """
    out = torch.empty_like(q)
    for run in batch.equal_rows:
        tokens = slice(run.start, run.start + run.rows * run.length)
        _attend_rectangle(q[tokens], k[tokens], v[tokens], out[tokens], run.length)
    return out


def _varlen_attn() -> Attend:
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415  (CUDA builds only)

    def attend(q: Tensor, k: Tensor, v: Tensor, batch: PackedBatch) -> Tensor:
        starts, longest = _checked_starts(batch), batch.longest
        out = varlen_attn(q, k, v, starts, starts, longest, longest)
        assert isinstance(out, Tensor)
        return out

    return attend


def _flash_attn() -> Attend:
    from flash_attn import flash_attn_varlen_func  # noqa: PLC0415  (an optional extra)

    def attend(q: Tensor, k: Tensor, v: Tensor, batch: PackedBatch) -> Tensor:
        starts, longest = _checked_starts(batch), batch.longest
        out: Tensor = flash_attn_varlen_func(q, k, v, starts, starts, longest, longest)
        return out

    return attend


def _checked_starts(batch: PackedBatch) -> Tensor:
    rows = len(batch.row_starts) - 1
    assert rows <= MAX_ROWS, f"{rows} rows are more than the {MAX_ROWS} of a kernel's grid"
    return batch.row_starts
