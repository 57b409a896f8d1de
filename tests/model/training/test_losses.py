"""Losses agree with slow, obvious loops on random vectors."""

import math

import pytest
import torch
from torch import Tensor

from model.training.losses import cosent, cosine_regression, info_nce, matryoshka, sup_con

TEMPERATURE = 0.3


@pytest.fixture(autouse=True)
def seed() -> None:
    print(f"seed: {torch.seed()}")


def drawn(rows: int = 7) -> Tensor:
    return torch.randn(rows, 5, dtype=torch.float64, requires_grad=True)


def cosine(a: Tensor, b: Tensor) -> float:
    return (a @ b / (a.norm() * b.norm())).item()


def slow_info_nce(a: Tensor, p: Tensor, n: list[Tensor], same: list[set[int]]) -> float:
    total = 0.0
    for i in range(len(a)):
        right = cosine(a[i], p[i]) / TEMPERATURE
        there = [cosine(a[i], p[j]) for j in range(len(p)) if j == i or j not in same[i]]
        there += [cosine(a[i], each) for x, each in enumerate(n, len(p)) if x not in same[i]]
        back = [cosine(a[j], p[i]) for j in range(len(a)) if j == i or i not in same[j]]
        for others in (there, back):
            total -= right - math.log(sum(math.exp(each / TEMPERATURE) for each in others))
    return total / len(a) / 2


def test_info_nce() -> None:
    a, p = drawn(), drawn()
    none = [set[int]() for _ in a]
    found = info_nce(a, p, temperature=TEMPERATURE)
    assert found.item() == pytest.approx(slow_info_nce(a, p, [], none))
    n = drawn(3)
    found = info_nce(a, p, n, temperature=TEMPERATURE)
    assert found.item() == pytest.approx(slow_info_nce(a, p, list(n), none))


def test_info_nce_does_not_push_away_what_is_right_as_well() -> None:
    a, p = drawn(4), drawn(4)
    same = torch.eye(4, dtype=torch.bool)
    same[0, 2] = same[2, 0] = True
    found = info_nce(a, p, temperature=TEMPERATURE, same=same)
    expected = slow_info_nce(a, p, [], [{0, 2}, {1}, {0, 2}, {3}])
    assert found.item() == pytest.approx(expected)
    n, right = drawn(3), torch.zeros(4, 3, dtype=torch.bool)
    right[3, 1] = right[0, 2] = True
    found = info_nce(a, p, n, temperature=TEMPERATURE, same=torch.cat([same, right], dim=1))
    expected = slow_info_nce(a, p, list(n), [{0, 2, 6}, {1}, {0, 2}, {3, 5}])
    assert found.item() == pytest.approx(expected)


def test_cosent() -> None:
    a, b = drawn(), drawn()
    scores = torch.tensor([0.0, 1, 1, 5, 2, 0, 3])
    total = 1.0
    for i in range(7):
        for j in range(7):
            if scores[i] > scores[j]:
                total += math.exp((cosine(a[j], b[j]) - cosine(a[i], b[i])) / TEMPERATURE)
    found = cosent(a, b, scores=scores, temperature=TEMPERATURE)
    assert found.item() == pytest.approx(math.log(total))


def test_sup_con() -> None:
    x = drawn()
    labels = [0, 1, 0, 2, 1, 0, 3]
    each = []
    for i in range(7):
        alike = [p for p in range(7) if p != i and labels[p] == labels[i]]
        total = sum(math.exp(cosine(x[i], x[a]) / TEMPERATURE) for a in range(7) if a != i)
        logs = [cosine(x[i], x[p]) / TEMPERATURE - math.log(total) for p in alike]
        each += [-sum(logs) / len(logs)] if alike else []
    found = sup_con(x, labels=torch.tensor(labels), temperature=TEMPERATURE)
    assert found.item() == pytest.approx(sum(each) / len(each))


def test_matryoshka_is_the_sum_over_first_components() -> None:
    a, p = drawn(), drawn()
    found = matryoshka(info_nce, [2, 5])(a, p, temperature=TEMPERATURE)
    parts = [info_nce(a[:, :m], p[:, :m], temperature=TEMPERATURE) for m in (2, 5)]
    assert found.item() == pytest.approx(sum(parts).item())


def test_gradients_are_finite_where_nothing_can_be_learned() -> None:
    """A batch without two scores, or without two texts of a label, must not break the weights."""
    a, b = drawn(), drawn()
    losses = [
        cosent(a, b, scores=torch.ones(7), temperature=TEMPERATURE),
        sup_con(a, labels=torch.arange(7), temperature=TEMPERATURE),
        info_nce(a, b, temperature=TEMPERATURE, same=torch.ones(7, 7, dtype=torch.bool)),
    ]
    for loss in losses:
        a.grad = None
        loss.backward()
        assert loss.item() == 0.0
        assert a.grad is not None
        assert torch.isfinite(a.grad).all()


def test_cosine_regression_is_the_mean_squared_difference() -> None:
    first, second, scores = torch.randn(7, 5), torch.randn(7, 5), torch.rand(7) * 2 - 1
    wrong = [
        (float(a @ b / (a.norm() * b.norm())) - float(score)) ** 2
        for a, b, score in zip(first, second, scores, strict=True)
    ]
    found = cosine_regression(first, second, scores=scores).item()
    assert found == pytest.approx(sum(wrong) / 7, rel=1e-5)
