"""What is set right before any training: the order of a head's numbers, and the mean.

RoPE (https://arxiv.org/abs/2104.09864) turns number i of a head's query and key together with
number i + d/2, by an angle of base ** (-2i/d) a token: pair 0 by a whole radian, the last ones by
nearly nothing. The teacher has no such pairs, and its attention scores stay the same if a head's
numbers are put into another order, the same for queries and keys. So those that weigh least in the
scores come first, where they are turned most. That alone keeps most of the teacher's quality, and
the teacher's own order loses most of it.

d numbers of a head, D hidden.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.rows import Row
from model.training.base import base_of
from model.training.trainable_encoder import means_over_spans, padded
from model.training.weights import Weights


def reordered(student: Weights, rows: Sequence[Row]) -> Weights:
    """The student with each head's numbers in the order of their weight in the scores of rows."""
    config = student.config
    heads, base = config.num_heads, dict(student.base)
    for layer, weight in enumerate(_weights(student, rows)):
        orders = torch.stack([_order(head) for head in weight.view(heads, -1)])
        numbers = torch.arange(weight.numel()).view(heads, -1).gather(1, orders).flatten()
        for kind in ("weight", "bias"):
            name = f"encoder.layers.{layer}.mixer.Wqkv.{kind}"
            query, key, value = base[name].chunk(3)
            base[name] = torch.cat([query[numbers], key[numbers], value])
    return Weights(student.fields, base, student.adapters)


def _order(weight: Tensor) -> Tensor:
    """The order (d,) that puts the numbers of least weight (d,) into the first pairs."""
    ascending = weight.argsort()
    return torch.cat([ascending[0::2], ascending[1::2]])


@torch.no_grad()
def centred(student: Weights, rows: Sequence[Row], share: float) -> Weights:
    """The student whose vectors are less that share of their mean over rows."""
    base = base_of(student)
    ids, mask = padded(rows)
    vectors = means_over_spans(base(input_ids=ids, attention_mask=mask).last_hidden_state, rows)
    name = f"encoder.layers.{student.config.num_layers - 1}.norm2.bias"
    bias = student.base[name] - share * vectors.mean(dim=0)
    return Weights(student.fields, {**student.base, name: bias}, student.adapters)


@torch.no_grad()
def _weights(student: Weights, rows: Sequence[Row]) -> list[Tensor]:
    """For each layer the weight (D,) of each number: the mean square of the query's times that of
    the key's, where nothing is turned, as in the teacher."""
    base = base_of(student)
    ids, mask = padded(rows)
    squares: list[Tensor] = []

    def keep(_: object, __: object, out: Tensor) -> None:
        squares.append(out[mask.bool()].square().mean(dim=0))

    for number in range(student.config.num_layers):
        for side in ("q_proj", "k_proj"):
            base.get_submodule(f"layers.{number}.self_attn.{side}").register_forward_hook(keep)
    base(input_ids=ids, attention_mask=mask, position_ids=torch.zeros_like(ids))
    return [query * key for query, key in zip(squares[0::2], squares[1::2], strict=True)]
