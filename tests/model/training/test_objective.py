"""The objective of a batch, judged by the losses on vectors that are read text by text."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.config import read_config
from model.tasks import Tasks
from model.tokenizer import Tokenizer
from model.training import weights
from model.training.data import LABELLED, SCORED, TRIPLES, Examples
from model.training.losses import cosent, cosine_regression
from model.training.objective import LossConfig, Objective, SideTasks, Targets
from model.training.trainable_encoder import TrainableEncoder
from tests.model.training.test_losses import slow_info_nce

TASK = "separation"
PAIRS = Examples(SCORED, (("bread", "a river"), ("a loaf of bread", "the sea")), (0.9, 0.4))
TEXTS = Examples(
    LABELLED, (("bread", "a loaf", "the sea", "a river"),), ("food",) * 2 + ("sea",) * 2
)


def objective(folder: Path, config: LossConfig, targets: Targets | None = None) -> Objective:
    encoder = TrainableEncoder.from_weights(weights.read(folder), [TASK])
    tokenizer = Tokenizer(folder, encoder.config), Tasks(encoder.config)
    return Objective(encoder, tokenizer, SideTasks(TASK, TASK), config, targets)


def alone(objective: Objective, folder: Path, text: str, task: str | None) -> Tensor:
    config = read_config(folder)
    rows = Tokenizer(folder, config).rows([text], Tasks(config).by_name(TASK)).rows
    return objective.encoder(rows, task).detach()


@pytest.mark.parametrize("regress", [False, True])
def test_scored_pairs_are_learned_by_order_or_by_value(original: Path, *, regress: bool) -> None:
    scored = objective(original, LossConfig(0.1, regress_scores=regress))
    sides = [
        torch.cat([alone(scored, original, text, TASK) for text in column])
        for column in PAIRS.columns
    ]
    expected = 0.0
    for size in read_config(original).matryoshka_dimensions:
        cut, scores = [side[:, :size] for side in sides], torch.tensor(PAIRS.values)
        expected += (
            cosine_regression(*cut, scores=scores)
            if regress
            else cosent(*cut, scores=scores, temperature=0.1)
        ).item()
    assert scored(PAIRS).item() == pytest.approx(expected, rel=1e-3)


def test_only_the_order_of_scores_counts_on_any_scale(original: Path) -> None:
    asked = objective(original, LossConfig(0.1))
    few, many = (Examples(SCORED, PAIRS.columns, values) for values in ((1.0, 0.0), (1e9 + 1, 1e9)))
    assert asked(many).item() == asked(few).item() > 0


def test_no_text_is_a_negative_of_an_anchor_whose_positive_it_is(original: Path) -> None:
    """Of each anchor: the places of positives, then of negatives, that are right for it."""
    triples = Examples(
        TRIPLES,
        (
            ("bread", "bread", "sea", "ship", "a loaf"),
            ("a loaf", "toast", "the sea", "toast", "bread"),
            ("toast", "a loaf", "a loaf", "the sea", "a river"),
        ),
    )
    right = [{0, 1, 3, 4, 5, 6, 7}, {0, 1, 3, 4, 5, 6, 7}, {2, 8}, {1, 3, 5}, {0, 4}]
    asked = objective(original, LossConfig(0.3))
    anchors, positives, negatives = (
        torch.cat([alone(asked, original, text, TASK) for text in column])
        for column in triples.columns
    )
    expected = sum(
        slow_info_nce(anchors[:, :m], positives[:, :m], list(negatives[:, :m]), right)
        for m in read_config(original).matryoshka_dimensions
    )
    assert asked(triples).item() == pytest.approx(expected, rel=1e-3)


def test_the_distance_of_texts_to_their_targets_is_added_to_the_loss(original: Path) -> None:
    (texts,) = TEXTS.columns
    width = read_config(original).hidden_size
    wanted = {text: torch.randn(width) for text in texts[1:3]}

    def targets(asked: Sequence[str]) -> tuple[list[int], Tensor]:
        having = [index for index, text in enumerate(asked) if text in wanted]
        return having, torch.stack([wanted[asked[index]] for index in having])

    free, held = (objective(original, LossConfig(0.1, target_weight=w), targets) for w in (0, 3))
    cosines = [
        torch.cosine_similarity(alone(free, original, text, TASK), target)
        for text, target in wanted.items()
    ]
    distance = 1 - torch.cat(cosines).mean().item()
    assert (held(TEXTS) - free(TEXTS)).item() == pytest.approx(3 * distance, rel=1e-3)
    unheld = objective(original, LossConfig(0.1, target_weight=3), lambda _: ([], torch.empty(0)))
    assert unheld(TEXTS).item() == pytest.approx(free(TEXTS).item(), rel=1e-5)
