"""Each control does what it says, with a pointer or a keyboard."""

import json
import re

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.playground import DIFFERENCE, WITH, WITHOUT
from tests.checkpoints import MINI
from tests.server import Service

pytestmark = pytest.mark.browser

LAUNCH_POST = json.loads((MINI.parents[1] / "tests/golden/launch_post.json").read_text())


def info(service: Service) -> dict:
    return httpx.get(f"{service.url}/info").json()


def test_at_first_load_the_launch_post_is_embedded(playground):
    (said,) = playground.said()
    facts = info(playground.service)
    assert said["input"] == LAUNCH_POST
    assert said["task"] == facts["default_task"]
    assert said["dimensions"] == facts["width"]
    assert said["late_chunking"] is False
    assert len(playground.exact("Cosine")) == len(LAUNCH_POST)


def test_the_header_says_what_is_served_and_that_it_is_small(playground):
    header = playground.page.get_by_role("banner")
    (model,) = httpx.get(f"{playground.service.url}/v1/models").json()["data"]
    expect(header).to_contain_text(model["id"])
    expect(header).to_contain_text(model["description"])
    expect(header).to_contain_text("small")
    for name, path in (("Reference", "docs"), ("Metrics", "metrics")):
        link = header.get_by_role("link", name=name)
        assert httpx.get(f"{playground.service.url}/{link.get_attribute('href')}").is_success, path


def test_every_task_of_the_service_can_be_chosen_and_is_sent(playground):
    tasks = info(playground.service)["tasks"]
    radios = playground.page.get_by_role("radio")
    assert [radio.input_value() for radio in radios.all()] == tasks
    for task in tasks:
        playground.choose_task(task)
        playground.embed("one", "two")
        assert [body["task"] for body in playground.said()] == [task]
        assert [body["task"] for body in playground.said("tokenize")] == [task]


def test_the_slider_goes_over_the_matryoshka_sizes_and_the_width(playground):
    facts = info(playground.service)
    sizes = sorted({*facts["matryoshka_dimensions"], facts["width"]})
    slider = playground.page.get_by_label("Dimensions", exact=True)
    assert slider.get_attribute("max") == str(len(sizes) - 1)
    for index, size in enumerate(sizes):
        playground.slide(index)
        expect(playground.page.locator("#size")).to_have_text(str(size))
        expect(slider).to_have_attribute("aria-valuetext", f"{size} dimensions")
        playground.embed("one", "two")
        assert [body["dimensions"] for body in playground.said()] == [size]


def test_late_chunking_asks_for_both_and_shows_three_heat_maps(playground):
    playground.switch_late_chunking(on=True)
    playground.embed()
    assert [body["late_chunking"] for body in playground.said()] == [False, True]
    assert len({json.dumps({**body, "late_chunking": 0}) for body in playground.said()}) == 1
    for title in (WITHOUT, WITH, DIFFERENCE):
        expect(playground.page.get_by_role("table", name=title, exact=True)).to_be_visible()
    expect(playground.page.get_by_role("heading", name="Map, with late chunking")).to_be_visible()
    playground.switch_late_chunking(on=False)
    playground.embed()
    assert [body["late_chunking"] for body in playground.said()] == [False]
    assert playground.page.locator("#heat-maps table").count() == 1


def test_the_example_is_one_click(playground):
    playground.embed("something else", "and more")
    playground.sent.clear()
    playground.page.get_by_role("button", name="Launch post example").click()
    playground.wait("Embedded 5 texts.")
    assert [body["input"] for body in playground.said()] == [LAUNCH_POST]


def test_blank_lines_are_no_texts_and_others_are_sent_as_they_are(playground):
    playground.embed("", "  two spaces before", "\t ", "", "last ")
    assert playground.said()[0]["input"] == ["  two spaces before", "last "]
    expect(playground.page.locator("#counted")).to_have_text("2 texts")


def test_the_keyboard_alone_goes_from_load_to_answers(playground):
    page, keys = playground.page, playground.page.keyboard
    for _ in range(4):  # two links, the example, the texts
        keys.press("Tab")
    expect(page.get_by_label("Texts, one a line")).to_be_focused()
    keys.press("Control+A")
    keys.type("Guten Morgen!\nGood morning!\nGood night!")
    keys.press("Tab")
    keys.press("ArrowUp")
    keys.press("Tab")
    keys.press("ArrowLeft")
    keys.press("Tab")
    keys.press("Space")
    keys.press("Tab")
    playground.sent.clear()
    keys.press("Enter")
    playground.wait("Embedded 3 texts.")
    assert playground.said()[-1] == {
        "model": "quintet-mini",
        "task": "classification",
        "dimensions": 128,
        "late_chunking": True,
        "input": ["Guten Morgen!", "Good morning!", "Good night!"],
    }
    for _ in range(4):  # three heat maps, which scroll, and the table of tokens
        keys.press("Tab")
    keys.press("Tab")
    expect(page.get_by_role("img", name="1: Guten Morgen!")).to_be_focused()
    keys.press("ArrowRight")
    expect(page.get_by_role("img", name="2: Good morning!")).to_be_focused()
    expect(page.locator(".reading")).to_have_text("2  Good morning!")
    keys.press("End")
    expect(page.locator(".reading")).to_have_text("3  Good night!")


def test_focus_can_be_seen(playground):
    for name in ("Texts, one a line", "Dimensions"):
        box = playground.page.get_by_label(name, exact=True)
        box.focus()
        playground.page.keyboard.press("Shift")
        assert box.evaluate("box => parseFloat(getComputedStyle(box).outlineWidth)") >= 2


@pytest.mark.parametrize("keys", ["Control+Enter", "Meta+Enter"])
def test_enter_with_control_or_command_embeds(playground, keys):
    playground.write("one", "two")
    playground.sent.clear()
    playground.page.get_by_label("Texts, one a line").press(keys)
    playground.wait("Embedded 2 texts.")
    assert playground.said()[0]["input"] == ["one", "two"]


def test_changed_controls_make_the_answers_visibly_earlier_ones(playground):
    page = playground.page
    notice = page.get_by_text("The answers are of an earlier request.")
    expect(notice).to_be_hidden()
    color = "cell => getComputedStyle(cell).backgroundColor"
    cell = page.locator("#heat-maps td[data-pair='1 3']")
    fresh = cell.evaluate(color)
    playground.slide(0)
    expect(notice).to_be_visible()
    assert cell.evaluate(color) != fresh
    playground.slide(3)
    expect(notice).to_be_hidden()
    assert cell.evaluate(color) == fresh


def test_a_service_without_a_default_task_offers_the_base_model(unopened):
    def without_default(route):
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "default_task": None})

    unopened.page.route("**/info", without_default)
    unopened.open()
    expect(unopened.page.get_by_role("radio", name=re.compile("^none"))).to_be_checked()
    assert "task" not in unopened.said()[0]
    assert '"task"' not in unopened.snippet("curl") + unopened.snippet("python")
