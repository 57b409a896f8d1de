"""Metrics agree with scikit-learn's, and are right where the right value is known."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from model.evaluate import metrics
from model.evaluate.embedding_cache import unit


@pytest.mark.parametrize("passages", [1, 4, 25])
@pytest.mark.parametrize("values", [3, 10**9])
def test_ndcg_is_scikit_learns_with_and_without_ties(
    rng: np.random.Generator, passages: int, values: int
) -> None:
    similarities = rng.integers(0, values, (40, passages)).astype(float)
    answers = rng.integers(0, passages, 40)
    relevant = np.zeros_like(similarities)
    relevant[np.arange(40), answers] = 1
    # scikit-learn refuses a single passage, which is always at rank 1.
    expected = ndcg_score(relevant, similarities, k=10) if passages > 1 else 1.0
    assert metrics.accuracy_and_ndcg(similarities, answers)[1] == pytest.approx(expected)


@pytest.mark.parametrize("values", [3, 10**9])
def test_accuracy_is_the_chance_of_the_right_passage_in_a_random_order_of_ties(
    rng: np.random.Generator, values: int
) -> None:
    similarities = rng.integers(0, values, (60, 7)).astype(float)
    answers = rng.integers(0, 7, 60)
    chances = []
    for row, answer in zip(similarities, answers, strict=True):
        best = np.flatnonzero(row == row.max())
        chances.append((answer in best) / len(best))
    accuracy, _ = metrics.accuracy_and_ndcg(similarities, answers)
    assert accuracy == pytest.approx(np.mean(chances))


def test_accuracy_is_ndcg_at_1(rng: np.random.Generator) -> None:
    similarities, answers = rng.normal(size=(30, 9)), rng.integers(0, 9, 30)
    accuracy, ndcg = metrics.accuracy_and_ndcg(similarities, answers, k=1)
    assert accuracy == pytest.approx(ndcg)


@pytest.mark.parametrize("questions", [1, 1024, 2500])
def test_in_parts_the_measures_are_those_of_all_at_once(
    rng: np.random.Generator, questions: int
) -> None:
    similarities = rng.integers(0, 9, (questions, 11)).astype(float)
    answers = rng.integers(0, 11, questions).tolist()
    found = metrics.accuracy_and_ndcg_in_parts(lambda part: similarities[part], answers)
    assert found == pytest.approx(metrics.accuracy_and_ndcg(similarities, answers))


def test_vectors_that_order_pairs_as_people_do_have_a_spearman_of_1(
    rng: np.random.Generator,
) -> None:
    a, b = (unit(rng.normal(size=(50, 8)).astype("f4"), 8) for _ in "ab")
    cosines = (a * b).sum(axis=1)
    assert metrics.spearman(a, b, np.exp(cosines)) == pytest.approx(1)
    assert metrics.spearman(a, b, -cosines) == pytest.approx(-1)


def test_equal_cosines_have_a_spearman_of_0() -> None:
    same = unit(np.ones((3, 8), "f4"), 8)
    assert metrics.spearman(same, same, [1, 2, 3]) == 0


def test_probe_neighbours_and_clusters_find_what_is_separate_and_not_what_is_not(
    rng: np.random.Generator,
) -> None:
    labels = ["a", "b", "c"] * 30
    centres = np.eye(8)[np.arange(90) % 3]
    apart = unit((centres + rng.normal(size=(90, 8)) * 0.02).astype("f4"), 8)
    mixed = unit(rng.normal(size=(90, 8)).astype("f4"), 8)
    for score in (metrics.probe, metrics.neighbours):
        assert score(apart[:60], labels[:60], apart[60:], labels[60:]) == 1
        assert score(mixed[:60], labels[:60], mixed[60:], labels[60:]) < 0.8
    assert metrics.v_measure(apart, labels, 0) == pytest.approx(1)
    assert metrics.v_measure(mixed, labels, 0) < 0.3
    assert metrics.v_measure(mixed, labels, 0) == metrics.v_measure(mixed, labels, 0)


def test_equal_vectors_make_no_noise() -> None:
    same = np.ones((6, 4), "f4") / 2
    assert metrics.v_measure(same, ["a", "b", "c"] * 2, 0) == pytest.approx(0)


def test_cutting_comes_before_scaling(rng: np.random.Generator) -> None:
    cut = unit(rng.normal(size=(5, 8)).astype("f4"), 3)
    np.testing.assert_allclose(np.linalg.norm(cut, axis=1), 1, rtol=1e-6)
