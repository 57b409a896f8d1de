"""Every number in the page comes from the API's answers; numpy is the judge."""

import re

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.playground import DIFFERENCE, WITH, WITHOUT, Playground, cosines

pytestmark = pytest.mark.browser

TEXTS = (
    "The cat sleeps on the warm stove.",
    "Die Katze schläft auf dem warmen Ofen.",
    "القطة تنام على الموقد الدافئ.",
    "Interest rates rose by half a percent.",
    "利率上升了半个百分点。",
    "Die Zinsen stiegen um ein halbes Prozent.",
    "Where is the station?",
)
# The page and numpy add the same float64 products in another order.
EXACT = 1e-12


def written(value: float) -> str:
    """As a cell writes it: 2 decimals, a true minus, no negative zero."""
    digits = f"{abs(value):.2f}"
    return f"\u2212{digits}" if value < 0 and float(digits) else digits


def written_change(value: float) -> str:
    return f"+{written(value)}" if value > 0 and float(f"{value:.2f}") else written(value)


@pytest.mark.parametrize(("task", "index"), [("text-matching", 3), ("retrieval.query", 1)])
def test_a_heat_map_holds_the_cosines_of_the_answer(playground, task, index):
    playground.choose_task(task)
    playground.slide(index)
    playground.embed(*TEXTS)
    expected = cosines(playground.vectors(*playground.said()))
    exact = playground.exact("Cosine")
    np.testing.assert_allclose(exact, expected, rtol=0, atol=EXACT)
    assert playground.shown("Cosine") == [[written(value) for value in row] for row in exact]


def test_late_chunking_is_compared_cell_by_cell(playground):
    playground.switch_late_chunking(on=True)
    playground.embed(*TEXTS)
    without, joined = (cosines(playground.vectors(body)) for body in playground.said())
    np.testing.assert_allclose(playground.exact(WITHOUT), without, rtol=0, atol=EXACT)
    np.testing.assert_allclose(playground.exact(WITH), joined, rtol=0, atol=EXACT)
    difference = playground.exact(DIFFERENCE)
    np.testing.assert_array_equal(difference, playground.exact(WITH) - playground.exact(WITHOUT))
    assert np.abs(difference).max() > 0.01, "late chunking changed nothing"
    assert playground.shown(DIFFERENCE) == [
        [written_change(value) for value in row] for row in difference
    ]


def test_both_heat_maps_have_one_scale_and_the_difference_a_symmetric_one(playground):
    playground.switch_late_chunking(on=True)
    playground.embed(*TEXTS)
    beside = ~np.eye(len(TEXTS), dtype=bool)
    both = np.stack([playground.exact(title)[beside] for title in (WITHOUT, WITH)])
    most = np.abs(playground.exact(DIFFERENCE)[beside]).max()
    legends = playground.page.locator(".legend").all_inner_texts()
    expected = [written(both.min()) + written(both.max())] * 2
    expected.append(f"{written(-most)}+{written(most)}")
    assert [re.sub(r"\s", "", legend) for legend in legends] == expected


def principal_axes(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) -> coordinates on the first two axes (N, 2), and the axes' shares of the variance."""
    centred = vectors - vectors.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :2] * values[:2], values[:2] ** 2 / (values**2).sum()


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def places(playground: Playground) -> np.ndarray:
    """Where the points of the map stand, in the units of the drawing."""
    moves = playground.page.locator(".point").evaluate_all(
        "points => points.map(point => point.getAttribute('transform'))"
    )
    return np.array([[float(each) for each in re.findall(r"-?[\d.]+", move)] for move in moves])


@pytest.mark.parametrize("late", [False, True], ids=["without", "with"])
def test_distances_on_the_map_are_those_of_a_principal_component_analysis(playground, late):
    playground.switch_late_chunking(on=late)
    playground.embed(*TEXTS)
    expected, shares = principal_axes(playground.vectors(playground.said()[-1]))
    seen = places(playground)
    scale = np.ptp(seen[:, 0]) / np.ptp(expected[:, 0])
    np.testing.assert_allclose(distances(seen) / scale, distances(expected), atol=1e-6)
    assert (seen > 0).all()
    assert (seen < [360, 270]).all()
    for share in shares:
        expect(playground.page.locator(".map figcaption")).to_contain_text(f"{share:.0%}")


def test_two_equal_texts_lie_on_one_place(playground):
    playground.embed("the same", "the same")
    one, two = places(playground)
    np.testing.assert_allclose(one, two, atol=1e-3)
    assert playground.shown("Cosine") == [["1.00"] * 2] * 2


def test_a_point_of_the_map_tells_its_text_and_is_marked_elsewhere(playground):
    playground.embed(*TEXTS)
    # At its number, as the page says: texts of one meaning have points that touch.
    playground.page.get_by_role("img", name=f"4: {TEXTS[3]}").locator("text").hover()
    expect(playground.page.locator(".reading")).to_have_text(f"4  {TEXTS[3]}")
    marked = playground.page.locator(".linked")
    assert {each.get_attribute("data-text") for each in marked.all()} == {"4"}
    playground.page.locator("#heat-maps td[data-pair='2 6']").hover()
    assert {each.get_attribute("data-text") for each in marked.all()} == {"2", "6"}


def test_token_counts_are_those_of_tokenize(playground):
    playground.embed(*TEXTS)
    (body,) = playground.said("tokenize")
    assert body["counts_only"] is True
    counted = httpx.post(f"{playground.service.url}/tokenize", json=body).json()
    table = playground.page.get_by_role("table", name="Texts and tokens")
    shown = table.locator("tbody .count").all_inner_texts()
    assert [int(count) for count in shown] == [each["tokens"] for each in counted["inputs"]]
    assert int(table.locator("tfoot .count").inner_text()) == counted["total_tokens"]
    assert table.locator("tbody .excerpt").all_inner_texts() == list(TEXTS)


def test_latency_is_what_the_browser_saw_and_what_the_service_says(playground):
    with playground.page.expect_response("**/v1/embeddings") as answered:
        playground.embed(*TEXTS)
    facts = playground.page.locator("#facts").inner_text()
    in_browser, in_service = map(int, re.findall(r"(\d+) ms", facts))
    assert in_service == int(answered.value.headers["openai-processing-ms"])
    assert in_service <= in_browser + 1
    assert "7 \u00d7 256" in facts
