"""Compare texts: live, on a fixed scale, readable from 2 texts to 2,048; numpy is the judge."""

import re

import numpy as np
import pytest
from playwright.sync_api import Route, expect

from tests.browser.playground import (
    DIFFERENCE,
    WITH,
    WITHOUT,
    cosines,
    number,
    vectors,
)

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


def written(value: float) -> str:
    """As a cell writes it: 2 decimals, a true minus, no negative zero."""
    digits = f"{abs(value):.2f}"
    return f"\u2212{digits}" if value < 0 and float(digits) else digits


def close(shown: list[list[str]], judged: np.ndarray) -> bool:
    numbers = np.array([[number(cell) for cell in row] for row in shown])
    return numbers.shape == judged.shape and np.abs(numbers - judged).max() < 0.00501


def test_the_launch_post_is_there_at_once_and_follows_every_change_of_the_form(comparing):
    body = comparing.said()[-1]
    assert len(body["input"]) == 5
    assert close(comparing.shown("Cosine"), cosines(vectors(comparing.service, body)))
    for task in ("classification", "retrieval.query"):
        comparing.choose_task(task)
        body = comparing.said()[-1]
        assert body["task"] == task
        assert close(comparing.shown("Cosine"), cosines(vectors(comparing.service, body)))
    comparing.compare(*TEXTS)
    body = comparing.said()[-1]
    assert body["input"] == list(TEXTS)
    assert close(comparing.shown("Cosine"), cosines(vectors(comparing.service, body)))


def test_another_size_asks_nothing_and_shows_what_the_service_would(comparing):
    asked = len(comparing.sent)
    for index, size in enumerate((32, 64, 128, 256, 384)):
        comparing.slide(index)
        expect(comparing.page.locator("#size")).to_have_text(str(size))
        body = {**comparing.said()[-1], "dimensions": size}
        assert close(comparing.shown("Cosine"), cosines(vectors(comparing.service, body)))
    assert len(comparing.sent) == asked


def test_late_chunking_is_compared_cell_by_cell(comparing):
    comparing.compare(*TEXTS)
    comparing.switch_late_chunking(on=True)
    without, joined = (cosines(vectors(comparing.service, body)) for body in comparing.said()[-2:])
    assert [body["late_chunking"] for body in comparing.said()[-2:]] == [False, True]
    assert close(comparing.shown(WITHOUT), without)
    assert close(comparing.shown(WITH), joined)
    assert close(comparing.shown(DIFFERENCE), joined - without)
    assert np.abs(joined - without).max() > 0.01, "late chunking changed nothing"
    expect(comparing.page.get_by_role("heading", name="Map, with late chunking")).to_be_visible()


def test_scales_are_fixed_and_stated_so_two_texts_do_not_look_like_0_and_1(comparing):
    comparing.switch_late_chunking(on=True)
    comparing.compare("The cat sleeps.", "The cat is asleep.")
    legends = [
        re.sub(r"\s", "", each) for each in comparing.page.locator(".legend").all_inner_texts()
    ]
    assert legends == ["0.001.00", "0.001.00", "\u22120.50+0.50"]
    cell = comparing.page.locator("table.similarity td[data-pair='1 2']").first
    share = float(cell.evaluate("cell => cell.style.getPropertyValue('--share')"))
    assert abs(share - number(cell.inner_text())) < 0.0051


def test_texts_are_told_apart_by_lines_or_by_blank_lines(comparing):
    comparing.compare("", "  two spaces before", "\t ", "", "last ")
    assert comparing.said()[-1]["input"] == ["  two spaces before", "last "]
    comparing.page.get_by_label("How texts are told apart").select_option("blank")
    comparing.compare("one", "still one", "", "two")
    assert comparing.said()[-1]["input"] == ["one\nstill one", "two"]
    expect(comparing.page.locator("#texts-counted")).to_have_text("2 texts")


def test_typing_asks_once_it_pauses_and_a_newer_text_supersedes_what_is_under_way(comparing):
    held: list[Route] = []
    comparing.page.route(
        "**/v1/embeddings",
        lambda route: (
            held.append(route) if "slow" in route.request.post_data else route.continue_()
        ),
    )
    with comparing.page.expect_event("requestfailed") as given_up:
        with comparing.page.expect_request("**/v1/embeddings"):
            comparing.write("slow one", "slow two", "slow three")
        comparing.compare("quick one", "quick two")
    assert "ERR_ABORTED" in given_up.value.failure
    assert len(comparing.shown("Cosine")) == 2
    expect(comparing.alert()).to_be_empty()


# In place of the browser's: one that never comes to an end, as with thousands of texts for a while.
SLOW_WORKER = """() => {
  window.Worker = class {
    addEventListener() {}
    postMessage() { document.body.dataset.computing = ""; }
    terminate() {}
  };
}"""


def test_a_pair_that_is_shown_is_read_as_itself_while_newer_texts_are_computed(comparing):
    comparing.compare(*TEXTS)
    page = comparing.page
    page.evaluate(SLOW_WORKER)
    comparing.write("something", "else", "entirely")
    expect(page.locator("body[data-computing]")).to_have_count(1)
    page.locator("td[data-pair='2 6']").hover()
    expect(page.locator("#pair .excerpt")).to_have_text([f"2  {TEXTS[1]}", f"6  {TEXTS[5]}"])


def test_pointing_at_a_pair_reads_it_and_a_click_shows_the_nearest_five(comparing):
    comparing.compare(*TEXTS)
    page = comparing.page
    page.locator("td[data-pair='2 6']").hover()
    expect(page.locator("#pair")).to_contain_text(TEXTS[1])
    expect(page.locator("#pair")).to_contain_text(TEXTS[5])
    marked = {each.get_attribute("data-text") for each in page.locator(".linked").all()}
    assert marked == {"2", "6"}
    page.locator("td[data-pair='2 6']").click()
    near = page.locator("#near li")
    row = cosines(vectors(comparing.service, comparing.said()[-1]))[1]
    judged = [i for i in np.argsort(-row) if i != 1][:5]
    assert [int(each.get_attribute("data-text")) - 1 for each in near.all()] == judged
    expect(page.locator("#near p")).to_contain_text(TEXTS[1])
    page.get_by_role("button", name="Text 4: its nearest texts").press("Enter")
    expect(page.locator("#near p")).to_contain_text(TEXTS[3])
    page.get_by_role("img", name=f"7: {TEXTS[6]}").focus()
    expect(page.locator(".reading")).to_have_text(f"7  {TEXTS[6]}")


PIXEL = """(canvas, [row, column]) => {
  const pen = new OffscreenCanvas(1, 1).getContext("2d");
  pen.drawImage(canvas, -column, -row);
  return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
}"""


def test_many_texts_are_pixels_sorted_by_cluster_and_read_with_keys(comparing):
    groups = [[f"{word} {i}" for i in range(20)] for word in ("cat", "interest rate", "train")]
    texts = [text for trio in zip(*groups, strict=True) for text in trio]
    comparing.compare(*texts)
    page, canvas = comparing.page, comparing.page.locator("canvas")
    assert canvas.get_attribute("width") == canvas.get_attribute("height") == "60"
    assert page.locator("#heat-maps table").count() == 0
    expect(page.get_by_label("Similar texts next to each other")).to_be_checked()
    canvas.focus()
    page.keyboard.press("ArrowRight")
    first, second = page.locator("#pair .excerpt").all_inner_texts()
    kind = lambda text: re.sub(r"^\d+ +| \d+$", "", text)  # noqa: E731
    assert kind(first) == kind(second), "neighbours are of one cluster"
    rows = cosines(vectors(comparing.service, comparing.said()[-1]))
    pair = [int(each.split()[0]) - 1 for each in (first, second)]
    expect(page.locator("#pair b")).to_have_text(written(rows[pair[0], pair[1]]))
    page.keyboard.press("Enter")
    expect(page.locator("#near p")).to_have_text(first)
    # Sorted, the clusters are blocks: a cell beside the diagonal is darker than a far one.
    near, far = (sum(canvas.evaluate(PIXEL, place)) for place in ([0, 1], [0, 59]))
    assert near < far
    page.get_by_label("Similar texts next to each other").uncheck()
    canvas.focus()
    page.keyboard.press("ArrowRight")
    assert [kind(text) for text in page.locator("#pair .excerpt").all_inner_texts()] == [
        "cat", "interest rate"
    ]  # fmt: skip


def test_two_thousand_and_forty_eight_texts_are_shown(comparing):
    texts = [f"{i % 32} and {i // 32}" for i in range(2048)]
    comparing.compare(*texts)
    expect(comparing.page.locator("#texts-counted")).to_have_text("2,048 texts")
    assert comparing.page.locator("canvas").get_attribute("width") == "2048"
    assert comparing.page.locator(".point").count() == 2048
    assert comparing.overflow() == 0
    comparing.page.locator("canvas").hover(position={"x": 100, "y": 200})
    assert comparing.page.locator("#pair .excerpt").count() == 2


def test_a_service_without_a_default_task_offers_the_base_model(unopened):
    def without_default(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "default_task": None})

    unopened.page.route("**/info", without_default)
    unopened.open("#view=compare")
    expect(unopened.page.get_by_role("radio", name=re.compile("^none"))).to_be_checked()
    assert "task" not in unopened.said()[0]
    assert '"task"' not in unopened.program("curl") + unopened.program("Python")


def test_the_keyboard_alone_goes_from_the_texts_to_the_map(comparing):
    page, keys = comparing.page, comparing.page.keyboard
    page.get_by_label("Texts", exact=True).focus()
    keys.press("Control+A")
    keys.type("Guten Morgen!\nGood morning!\nGood night!")
    keys.press("Tab")  # the example
    keys.press("Tab")
    keys.press("ArrowUp")
    keys.press("Tab")
    keys.press("ArrowLeft")
    keys.press("Tab")
    keys.press("Space")
    comparing.changed()
    assert comparing.said()[-1] == {
        "model": "quintet-mini",
        "task": "classification",
        "late_chunking": True,
        "input": ["Guten Morgen!", "Good morning!", "Good night!"],
        "embedding_type": "base64",
    }
    expect(page.locator("#size")).to_have_text("256")
    page.locator("#heat-maps button").last.focus()
    keys.press("Tab")
    expect(page.get_by_role("img", name="1: Guten Morgen!")).to_be_focused()
    keys.press("End")
    expect(page.locator(".reading")).to_have_text("3  Good night!")
