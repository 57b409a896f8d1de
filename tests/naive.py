"""The judge of attention kernels: slow and obvious."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F

from model.attention import Attention
from model.packing import PackedBatch


def naive_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: PackedBatch
) -> torch.Tensor:
    """Attention over all tokens with every other row masked out, spelled out in float32."""
    starts = batch.row_starts.tolist()
    owner = torch.repeat_interleave(
        torch.arange(len(starts) - 1), torch.tensor(np.diff(starts))
    ).to(q.device)
    scores = torch.einsum("qhk,thk->hqt", q.float(), k.float()) / q.shape[2] ** 0.5
    scores = scores.masked_fill(owner[:, None] != owner[None, :], float("-inf"))
    return torch.einsum("hqt,thk->qhk", F.softmax(scores, dim=-1), v.float())


def attend_each_row(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, row_starts: torch.Tensor, longest: int
) -> torch.Tensor:
    """What a GPU's variable-length kernel computes, one row after the other, on any device."""
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    starts = row_starts.tolist()
    for start, stop in itertools.pairwise(starts):
        assert stop - start <= longest, "a kernel would leave out the end of this row"
        row = (each[start:stop].transpose(0, 1) for each in (q, k, v))
        out[start:stop] = F.scaled_dot_product_attention(*row).transpose(0, 1)
    return out


def by_row_starts(*_: object) -> Attention:
    """In the place of choose_attention: a kernel with which an encoder's passes run as on a GPU
    (model/gpu_encoder.py), on any device."""
    return Attention(
        "each row",
        lambda q, k, v, batch: attend_each_row(q, k, v, batch.row_starts, batch.longest),
        attend_each_row,
    )
