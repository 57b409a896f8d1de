"""The objective of a batch, judged by the losses on vectors that are read text by text."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.config import read_config
from model.tasks import Tasks
from model.tokenizer import Tokenizer
from model.training import weights
from model.training.data import LABELLED, SCORED, Examples
from model.training.losses import cosent, cosine_regression
from model.training.objective import Objective, Sides, Wanted
from model.training.student import Student

TASK = "separation"
PAIRS = Examples(SCORED, (("bread", "a river"), ("a loaf of bread", "the sea")), (0.9, 0.4))
TEXTS = Examples(
    LABELLED, (("bread", "a loaf", "the sea", "a river"),), ("food",) * 2 + ("sea",) * 2
)


def objective(folder: Path, wanted: Wanted) -> Objective:
    student = Student.of(weights.read(folder), [TASK])
    config = read_config(folder)
    return Objective(student, (Tokenizer(folder, config), Tasks(config)), Sides(TASK, TASK), wanted)


def alone(objective: Objective, folder: Path, text: str, task: str | None) -> Tensor:
    config = read_config(folder)
    rows = Tokenizer(folder, config).rows([text], Tasks(config).named(TASK)).rows
    return objective.student(rows, task).detach()


@pytest.mark.parametrize("exact", [False, True])
def test_scored_pairs_are_learned_by_order_or_where_scores_are_exact_by_value(
    original: Path, *, exact: bool
) -> None:
    asked = objective(original, Wanted(0.1, exact=exact))
    sides = [
        torch.cat([alone(asked, original, text, TASK) for text in column])
        for column in PAIRS.columns
    ]
    expected = 0.0
    for size in read_config(original).matryoshka_dimensions:
        cut, scores = [side[:, :size] for side in sides], torch.tensor(PAIRS.values)
        expected += (
            cosine_regression(*cut, scores=scores)
            if exact
            else cosent(*cut, scores=scores, temperature=0.1)
        ).item()
    assert asked(PAIRS).item() == pytest.approx(expected, rel=1e-3)


def test_what_drifts_from_the_base_costs_its_distance(original: Path) -> None:
    free, held = (objective(original, Wanted(0.1, near=near)) for near in (0.0, 3.0))
    cosines = [
        torch.cosine_similarity(*(alone(free, original, text, task) for task in (TASK, None)))
        for text in TEXTS.columns[0]
    ]
    drift = 1 - torch.cat(cosines).mean().item()
    assert drift > 0.01
    assert (held(TEXTS) - free(TEXTS)).item() == pytest.approx(3 * drift, rel=1e-3)
