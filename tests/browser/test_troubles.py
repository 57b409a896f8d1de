"""What goes wrong is a sentence in sight, with a way out of it, and never shows as a result."""

import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.playground import Playground

pytestmark = pytest.mark.browser

LONG = "a b " * 5000


def press(playground: Playground) -> None:
    playground.page.get_by_role("button", name="Ask", exact=True).click()


def test_no_document_and_no_question_are_sentences_and_no_request(playground):
    playground.documents("  \n ")
    playground.sent.clear()
    press(playground)
    expect(playground.alert()).to_contain_text("There is no document yet")
    playground.documents("Some text.")
    playground.page.get_by_label("Your question").fill(" ")
    press(playground)
    expect(playground.alert()).to_contain_text("There is no question yet")
    assert playground.sent == []
    playground.ask("What is it?")
    expect(playground.alert()).to_be_empty()


def test_a_refusal_is_the_sentence_of_the_service(troubled):
    troubled.documents("Some text.")
    troubled.page.get_by_label("of at most").fill("0")
    press(troubled)
    expect(troubled.alert()).to_contain_text("chunking.max_tokens")


def test_a_text_that_is_too_long_is_cut_by_one_click(unopened):
    unopened.open("#view=compare")
    unopened.write("short", LONG, "b")
    expect(unopened.alert()).to_contain_text(re.compile(r"input\[1\] has \d+ tokens"))
    expect(unopened.alert()).to_contain_text("Here that is number 2.")
    unopened.page.get_by_role("button", name="Cut what is too long").click()
    expect(unopened.page.get_by_label("Cut texts that are too long")).to_be_checked()
    expect(unopened.page.locator("#lead")).to_contain_text("1 text cut at the limit.")
    expect(unopened.alert()).to_be_empty()


def test_more_texts_that_are_cut_than_a_header_names_are_all_counted(unopened):
    """As the service names them: to cut 25 texts would take it half a minute here."""

    def cut(route: Route) -> None:
        answer = route.fetch()
        named = ", ".join(map(str, range(20))) + ", and 5 more"
        route.fulfill(response=answer, headers={**answer.headers, "x-truncated-inputs": named})

    unopened.page.route("**/v1/embeddings", cut)
    unopened.open("#view=compare")
    unopened.compare(*(f"text {number}" for number in range(25)))
    expect(unopened.page.locator("#lead")).to_contain_text("25 texts cut at the limit.")


def test_a_document_that_is_too_long_is_read_in_windows_by_one_click(unopened):
    unopened.open("#view=compare")
    unopened.switch_late_chunking(on=True)
    unopened.write(*["word " * 100] * 90)
    unopened.page.get_by_role("button", name="Read in windows").click()
    expect(unopened.page.get_by_label("Read a long document in windows")).to_be_checked()
    expect(unopened.alert()).to_be_empty()
    unopened.changed()
    assert unopened.said()[-1]["late_chunking_overlap"] == 256
    expect(unopened.page.locator("canvas")).to_have_count(3)


@pytest.mark.parametrize("view", ["ask", "compare"])
def test_a_service_that_cannot_be_reached_is_a_sentence_with_a_second_try(troubled, view):
    page = troubled.page
    if view == "compare":
        troubled.compare()
    page.route("**/v1/embeddings", lambda route: route.abort())
    if view == "ask":
        press(troubled)
    else:
        troubled.write("one", "two")
    expect(troubled.alert()).to_contain_text("The service cannot be reached")
    page.unroute("**/v1/embeddings")
    page.get_by_role("button", name="Try again").click()
    troubled.wait()
    expect(troubled.alert()).to_be_empty()


def test_an_answer_that_is_no_json_is_a_sentence(troubled):
    proxy = {"body": "<html>Bad gateway</html>", "content_type": "text/html"}
    troubled.page.route("**/v1/documents", lambda route: route.fulfill(status=502, **proxy))
    press(troubled)
    expect(troubled.alert()).to_contain_text("The service answered 502 without saying why.")
    troubled.page.unroute("**/v1/documents")
    troubled.page.route("**/v1/documents", lambda route: route.fulfill(status=200, **proxy))
    press(troubled)
    expect(troubled.alert()).to_contain_text("is no JSON")


def test_a_page_that_was_there_before_the_service_starts_with_a_second_try(unopened):
    unopened.page.route("**/info", lambda route: route.abort())
    unopened.page.goto(f"{unopened.service.url}/")
    expect(unopened.alert()).to_contain_text("cannot be reached")
    unopened.page.unroute("**/info")
    unopened.page.get_by_role("button", name="Try again").click()
    unopened.settled()


def test_a_model_that_is_not_there_yet_is_waited_for(troubled):
    """As the service answers while a worker loads the model, or a queue is full."""
    sentence = "no worker has its model loaded at the moment."
    refused: list[Route] = []

    def refuse_twice(route: Route) -> None:
        if len(refused) < 2:
            refused.append(route)
            headers = {"retry-after": "1"}
            route.fulfill(status=503, headers=headers, json={"detail": sentence})
        else:
            route.continue_()

    troubled.page.route("**/v1/embeddings", refuse_twice)
    press(troubled)
    waiting = troubled.page.locator("#waiting")
    expect(waiting).to_have_text(f"Waiting: {sentence} Trying again in 1 s.")
    expect(troubled.alert()).to_be_empty()
    troubled.settled()
    expect(waiting).to_be_empty()
    assert len(refused) == 2


def test_a_newer_question_ends_the_waiting(troubled):
    page = troubled.page
    headers = {"retry-after": "60"}
    page.route(
        "**/v1/documents",
        lambda route: route.fulfill(status=503, headers=headers, json={"detail": "full."}),
    )
    press(troubled)
    expect(page.locator("#waiting")).to_contain_text("Waiting: full.")
    page.unroute("**/v1/documents")
    troubled.ask("Which one is a bicycle?")
    expect(page.locator("#waiting")).to_be_empty()


@pytest.mark.parametrize("size", [(1440, 700), (390, 844), (320, 568)], ids=str)
def test_notices_and_the_button_are_in_sight_wherever_the_page_stands(troubled, size):
    page = troubled.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.locator("footer").scroll_into_view_if_needed()
    button = page.get_by_role("button", name="Ask", exact=True)
    expect(button).to_be_in_viewport(ratio=1)
    page.route("**/v1/documents", lambda route: route.abort())
    button.click()
    expect(troubled.alert()).to_contain_text("cannot be reached")
    expect(troubled.alert()).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Try again")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("texts", [("all alone",), ("", "  ")])
def test_one_text_has_nothing_to_be_compared_with_and_the_page_says_so(comparing, texts):
    cell = comparing.page.locator("td[data-pair='1 2']")
    color = "cell => getComputedStyle(cell).backgroundColor"
    fresh = cell.evaluate(color)
    comparing.write(*texts)
    expect(comparing.alert()).to_contain_text("It takes two texts to compare")
    assert cell.evaluate(color) != fresh, "what is shown is of before"
    comparing.compare("no longer", "alone")
    expect(comparing.alert()).to_be_empty()


def test_more_texts_than_one_request_takes_are_a_sentence_and_no_request(comparing):
    comparing.sent.clear()
    comparing.write(*(f"text {number}" for number in range(2049)))
    expect(comparing.alert()).to_contain_text("takes 2,048 texts at once; here are 2,049.")
    assert comparing.sent == []


def test_the_page_works_behind_a_proxy_that_adds_a_prefix(unopened):
    page, inner = unopened.page, unopened.service.url
    prefix = f"{inner}/some/where"

    def forward(route: Route) -> None:
        route.fulfill(response=route.fetch(url=route.request.url.replace(prefix, inner)))

    page.route(f"{prefix}/**", forward)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{prefix}/")
    unopened.settled()
    unopened.compare("one", "two")
    assert len(unopened.shown("Cosine")) == 2
    assert f"curl {prefix}/v1/embeddings" in unopened.program("curl")
    assert all(url.startswith(f"{prefix}/") for url in asked)
