"""The optimizers that parameters are trained with."""

from collections.abc import Sequence

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

# AdamW's default, for Muon too: trainings are short.
_WEIGHT_DECAY = 0.01
# A matrix with so many times as many rows as columns is a table, of which a step uses some rows.
_TABLE = 16


def adamw(parameters: Sequence[nn.Parameter]) -> list[Optimizer]:
    """AdamW for all."""
    return [AdamW(parameters, weight_decay=_WEIGHT_DECAY, fused=True)]


def muon(parameters: Sequence[nn.Parameter]) -> list[Optimizer]:
    """Muon for matrices, which moves all their directions alike; AdamW for the rest, tables too.

    https://kellerjordan.github.io/posts/muon. Its updates are scaled to the size of AdamW's, so
    that both have one learning rate: https://arxiv.org/abs/2502.16982, eq. 4.
    """
    matrices = [
        each
        for each in parameters
        if each.ndim == 2 and min(each.shape) > 1 and len(each) < _TABLE * each.shape[1]
    ]
    found = {id(each) for each in matrices}
    rest = [each for each in parameters if id(each) not in found]
    by_muon = Muon(matrices, weight_decay=_WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw")
    return [by_muon, *adamw(rest)]
