"""What goes wrong is a sentence beside the button, and never shows as an answer."""

import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.playground import BUSY, Playground

pytestmark = pytest.mark.browser


def refused(playground: Playground) -> str:
    """Press Embed; the sentence of the alert. Earlier answers are marked as such."""
    playground.press()
    alert = playground.page.get_by_role("alert")
    expect(alert).not_to_be_empty()
    expect(playground.page.get_by_text("The answers are of an earlier request.")).to_be_visible()
    expect(playground.page.get_by_role("status")).to_be_empty()
    return alert.inner_text()


def test_no_text_is_a_sentence_and_no_request(playground):
    playground.write("", "   ")
    playground.sent.clear()
    assert refused(playground).startswith("There is no text yet")
    assert playground.sent == []


def test_too_many_texts_to_compare_are_a_sentence_and_no_request(playground):
    playground.write(*(f"text {number}" for number in range(101)))
    playground.sent.clear()
    assert refused(playground) == "The playground compares at most 100 texts; here are 101."
    assert playground.sent == []


def test_a_refusal_is_the_sentence_of_the_service(troubled):
    def wider(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "width": 4096})

    troubled.page.route("**/info", wider)
    troubled.page.reload()
    alert = troubled.page.get_by_role("alert")
    expect(alert).to_have_text("dimensions is 4096; this model takes 1 to 256.")
    expect(troubled.page.locator("#answers")).to_be_hidden()


def test_a_text_that_is_too_long_is_named_by_its_number_in_the_page(troubled):
    troubled.write("short", "a b " * 5000)
    sentence = refused(troubled)
    assert re.match(r"input\[1\] has \d+ tokens; this model reads at most 8192", sentence)
    assert sentence.endswith("Here that is text 2.")


def test_a_service_that_cannot_be_reached_is_a_sentence(troubled):
    troubled.page.route("**/v1/embeddings", lambda route: route.abort())
    assert refused(troubled) == "The service cannot be reached: is it still running?"


def test_an_answer_that_is_no_json_is_a_sentence(troubled):
    proxy = {"body": "<html>Bad gateway</html>", "content_type": "text/html"}
    troubled.page.route("**/v1/embeddings", lambda route: route.fulfill(status=502, **proxy))
    assert refused(troubled) == "The service answered 502 without saying why."
    troubled.page.unroute("**/v1/embeddings")
    troubled.page.route("**/v1/embeddings", lambda route: route.fulfill(status=200, **proxy))
    troubled.press()
    expect(troubled.page.get_by_role("alert")).to_contain_text("is no JSON")


def test_after_an_error_the_next_press_succeeds_and_clears_it(troubled):
    troubled.write("")
    refused(troubled)
    troubled.embed("one", "two")
    expect(troubled.page.get_by_role("alert")).to_be_empty()
    expect(troubled.page.get_by_text("of an earlier request")).to_be_hidden()


def test_a_page_that_was_there_before_the_service_starts_with_the_button(unopened):
    unopened.page.route("**/info", lambda route: route.abort())
    unopened.page.goto(f"{unopened.service.url}/")
    expect(unopened.page.get_by_role("alert")).to_contain_text("cannot be reached")
    unopened.page.unroute("**/info")
    unopened.embed()
    assert len(unopened.exact("Cosine")) == 5


def test_one_text_has_no_map_and_the_page_says_so(playground):
    playground.switch_late_chunking(on=True)
    playground.embed("all alone")
    expect(playground.page.get_by_text("No map: it takes two texts")).to_be_visible()
    expect(playground.page.get_by_text("One text has nothing to be compared with")).to_be_visible()
    assert playground.page.locator("#heat-maps table, #map svg").count() == 0
    playground.embed("no longer", "alone")
    assert playground.page.locator("#heat-maps table").count() == 3


def test_a_newer_request_supersedes_the_one_in_flight(playground):
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    playground.page.route("**/v1/embeddings", hold_first)
    playground.write("slow one", "slow two", "slow three")
    with playground.page.expect_event(
        "requestfailed", lambda request: "slow" in (request.post_data or "")
    ) as given_up:
        with playground.page.expect_request("**/v1/embeddings"):
            playground.press()
        expect(playground.page.get_by_role("status")).to_have_text(BUSY)
        playground.embed("quick one", "quick two")
    assert "ERR_ABORTED" in given_up.value.failure
    held[0].fulfill(status=200, json={"data": [{"embedding": [1.0]}] * 3})
    expect(playground.page.get_by_role("status")).to_have_text("Embedded 2 texts.")
    assert len(playground.exact("Cosine")) == 2
    expect(playground.page.get_by_role("alert")).to_be_empty()


def test_texts_that_change_during_a_request_make_its_answers_earlier_ones(playground):
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    playground.page.route("**/v1/embeddings", hold)
    playground.write("one", "two", "three")
    with playground.page.expect_request("**/v1/embeddings"):
        playground.press()
    playground.write("changed", "meanwhile")
    held[0].continue_()
    playground.wait("Embedded 3 texts.")
    expect(playground.page.get_by_text("of an earlier request")).to_be_visible()
