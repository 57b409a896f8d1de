"""The map of "Compare texts"; numpy is the judge."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.playground import Playground, vectors
from tests.browser.test_compare import TEXTS

pytestmark = pytest.mark.browser


def places(playground: Playground) -> np.ndarray:
    """Where the points of the map stand, in the units of the drawing."""
    moves = playground.page.locator(".point").evaluate_all(
        "points => points.map(point => point.getAttribute('transform'))"
    )
    return np.array([[float(each) for each in re.findall(r"-?[\d.]+", move)] for move in moves])


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=2)


@pytest.mark.parametrize("many", [False, True], ids=["7 texts", "100 texts"])
def test_distances_on_the_map_are_those_of_a_principal_component_analysis(comparing, many):
    words = (
        "red",
        "warm stove",
        "cat",
        "interest",
        "train",
        "music",
        "blue",
        "castle",
        "rain",
        "bread",
    )
    texts = [f"{one} {two}" for one in words for two in words] if many else TEXTS
    comparing.compare(*texts)
    rows = vectors(comparing.service, comparing.said()[-1])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    left, values, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    judged = left[:, :2] * values[:2]
    seen = places(comparing)
    scale = np.ptp(seen[:, 0]) / np.ptp(judged[:, 0])
    # Of many texts the axes are iterated towards, to less than a pixel.
    tolerance = 1e-3 if many else 1e-6
    np.testing.assert_allclose(distances(seen) / scale, distances(judged), atol=tolerance)
    for share in values[:2] ** 2 / (values**2).sum():
        expect(comparing.page.locator(".map figcaption")).to_contain_text(f"{share:.0%}")
