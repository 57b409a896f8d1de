"""Ask: the first thing on the page. numpy judges the lists, from answers asked for directly."""

import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.judges import check, expected

pytestmark = pytest.mark.browser

OWN = """The harbour of Aldbury was built in 1840. It is closed in winter. Boats go to the island.

The museum of Corley shows old clocks. It is closed on Mondays. Children pay nothing."""


def test_a_visitor_sees_two_lists_and_a_sentence_before_doing_anything(unopened):
    unopened.open()
    first = unopened.said("documents")[:2]
    assert [body["late_chunking"] for body in first] == [False, True]
    assert {body["task"] for body in first} == {"retrieval.passage"}
    assert unopened.said()[0]["task"] == "retrieval.query"
    assert (
        unopened.ranked("alone")[2][1] == "Meteor To change the battery, loosen four screws below."
    )
    assert (
        unopened.ranked("late")[0][1] == "Meteor To change the battery, loosen four screws below."
    )
    assert unopened.verdict() == "Late chunking helps here: the answer rises from rank 3 to rank 1."
    expect(unopened.page.locator("#why")).to_contain_text("Meteor")


def test_the_three_requests_of_a_question_are_sent_in_one_go(troubled):
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    troubled.page.route("**/v1/*", hold)
    with troubled.page.expect_request("**/v1/embeddings"):
        troubled.page.get_by_role("button", name="Ask", exact=True).click()
    assert sorted(route.request.url.rpartition("/")[2] for route in held) == [
        "documents", "documents", "embeddings"
    ]  # fmt: skip
    for route in held:
        route.abort()


def test_own_text_is_asked_and_both_lists_are_right(playground):
    playground.documents(OWN)
    playground.page.get_by_label("Your question").fill("When is the museum closed?")
    playground.sent.clear()
    playground.page.keyboard.press("Enter")
    playground.settled()
    assert [len(body["input"]) for body in playground.said("documents")[:2]] == [2, 2]
    playground.page.get_by_role("button", name="Show all 6 chunks").click()
    for which, late in ("alone", False), ("late", True):
        assert len(playground.ranked(which)) == 6
        check(playground.ranked(which), expected(playground, late))
    expect(playground.page.locator("#counted")).to_contain_text("2 documents · 6 chunks")


def test_without_a_marked_answer_nothing_is_called_better_and_a_click_marks_one(playground):
    playground.documents(OWN)
    playground.ask("When is the museum closed?")
    page = playground.page
    assert "helps" not in playground.verdict() + page.locator("#why").inner_text()
    expect(page.locator("#why")).to_contain_text("Mark the chunk that answers")
    expect(page.locator("[aria-pressed=true]")).to_have_count(0)
    row = page.locator("#late .hit", has_text="closed on Mondays")
    row.click()
    expect(row).to_be_focused()
    expect(row).to_have_attribute("aria-pressed", "true")
    ranks = [
        next(rank for rank, words, _ in playground.ranked(which) if "on Mondays" in words)
        for which in ("alone", "late")
    ]
    words = "rises" if ranks[1] < ranks[0] else "falls" if ranks[1] > ranks[0] else str(ranks[0])
    assert words in playground.verdict() or "first either way" in playground.verdict()
    row.click()
    expect(page.locator("[aria-pressed=true]")).to_have_count(0)


def test_one_of_two_chunks_that_say_the_same_is_marked(playground):
    playground.documents("The box is blue. It is heavy.\n\nThe bag is red. It is heavy.")
    playground.ask("What does the bag weigh?")
    chunks_shown = playground.page.locator("#reading .chunk")
    chunks_shown.nth(3).click()
    expect(chunks_shown.nth(3)).to_have_attribute("aria-pressed", "true")
    expect(playground.page.locator("#reading [aria-pressed=true]")).to_have_count(1)


def test_ranks_that_moved_are_marked(playground):
    before = {words: rank for rank, words, _ in playground.ranked("alone")}
    rows = playground.page.locator("#late .hit")
    for rank, words, _ in playground.ranked("late"):
        moved = rows.nth(rank - 1).locator(".moved")
        if words not in before:  # alone it is not among the first five
            expect(moved).to_contain_text(re.compile(r"up from rank ([6-9]|1\d)"))
            continue
        by = before[words] - rank
        if by:
            expect(moved).to_contain_text(f"{'▲' if by > 0 else '▼'}{abs(by)}")
            expect(moved).to_contain_text(f"{'up' if by > 0 else 'down'} from rank {before[words]}")
        else:
            expect(moved).to_have_text("same rank")


def test_an_answer_far_down_is_shown_below_the_first_five(playground):
    playground.page.locator("#reading .chunk", has_text="Two years of warranty").click()
    shown = playground.ranked("late")
    assert len(shown) == 6
    assert shown[5][0] > 5
    assert shown[5][1] == "Aurora Two years of warranty."
    assert f"rank {shown[5][0]}" in playground.verdict()


def test_the_button_below_the_lists_says_how_many_chunks_it_shows(playground):
    for number, words in (12, "all 12"), (201, "the first 200 of 201"):
        playground.documents(" ".join(f"Go {i}." for i in range(number)))
        playground.ask("Where?")
        playground.page.get_by_role("button", name=f"Show {words} chunks", exact=True).click()
        assert len(playground.ranked("late")) == min(number, 200)
        playground.page.get_by_role("button", name="Show the first 5", exact=True).click()
        assert len(playground.ranked("late")) == 5


def test_the_keyboard_marks_an_answer_also_where_a_text_is_selected(playground):
    hit = playground.page.locator("#late .hit").nth(1)
    chunk = playground.page.locator("#reading .chunk").first
    for place, key in (hit, "Enter"), (chunk, " "):
        expect(place).to_have_attribute("aria-pressed", "false")
        playground.page.locator("#sentence").select_text()
        place.focus()
        playground.page.keyboard.press(key)
        expect(place).to_have_attribute("aria-pressed", "true")


def test_chunks_in_the_documents_are_tinted_by_similarity_and_linked_to_the_lists(playground):
    page = playground.page
    shares = {
        span.inner_text(): float(span.evaluate("span => span.style.getPropertyValue('--share')"))
        for span in page.locator("#reading .chunk").all()
    }
    by_rank = [words.partition(" ")[2] for _, words, _ in playground.ranked("late")]
    assert [shares[words] for words in by_rank] == sorted(shares.values(), reverse=True)[:5]
    assert max(shares.values()) == 1
    assert min(shares.values()) == 0
    page.locator("#late .hit").nth(2).hover()
    linked = page.locator(".linked")
    assert len({each.get_attribute("data-chunk") for each in linked.all()}) == 1
    assert {each.evaluate("each => each.className.split(' ')[0]") for each in linked.all()} == {
        "chunk", "hit"
    }  # fmt: skip


def test_a_changed_question_takes_the_verdict_back_until_it_is_asked(playground):
    page = playground.page
    notice = page.get_by_text("You have changed the question or the documents.")
    expect(notice).to_be_hidden()
    page.get_by_label("Your question").fill("Which one is a bicycle?")
    expect(notice).to_be_visible()
    expect(page.locator("#sentence")).to_be_hidden()
    playground.ask()
    expect(notice).to_be_hidden()
    expect(page.locator("#sentence")).to_be_visible()


def test_a_newer_question_supersedes_the_one_under_way(playground):
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if "slow" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page = playground.page
    page.route("**/v1/embeddings", hold_first)
    page.get_by_label("Your question").fill("slow question")
    with page.expect_event(
        "requestfailed", lambda request: "slow" in (request.post_data or "")
    ) as given_up:
        with page.expect_request("**/v1/embeddings"):
            page.keyboard.press("Enter")
        playground.ask("How do I change the battery of the Comet?")
    assert "ERR_ABORTED" in given_up.value.failure
    check(playground.ranked("late"), expected(playground, True))
    expect(playground.alert()).to_be_empty()


def test_chunks_are_cut_as_the_rule_says(playground):
    page = playground.page
    playground.documents("# One\n\nFirst sentence. Second sentence.\n\n# Two\n\nThird sentence.")
    page.get_by_label("a blank line starts a new document").uncheck()
    for rule, by, count in (("sentence", "sentences", 5), ("markdown", "markdown", 2)):
        page.get_by_label("Chunks are").select_option(rule)
        page.get_by_label("of at most").fill("32")
        playground.ask("Which one is third?")
        chunking = playground.said("documents")[0]["chunking"]
        assert (chunking["by"], chunking["max_tokens"]) == (by, 32)
        assert page.locator("#reading .chunk").count() == count or rule == "markdown"
        page.get_by_role("button", name="Edit").click()


def test_the_keyboard_alone_asks_marks_and_chooses(playground):
    page, keys = playground.page, playground.page.keyboard
    page.get_by_label("Your question").focus()
    keys.press("Control+A")
    keys.type("How do I change the battery of the Comet?")
    playground.sent.clear()
    keys.press("Enter")
    playground.settled()
    for name in ("Ask", "Edit"):
        keys.press("Tab")
        expect(page.get_by_role("button", name=name, exact=True)).to_be_focused()
    keys.press("Tab")  # the examples
    keys.press("Tab")  # files
    keys.press("Tab")
    expect(page.locator("#reading .chunk").first).to_be_focused()
    keys.press("End")
    keys.press("ArrowLeft")
    chosen = page.locator("#reading .chunk", has_text="turn the key")
    expect(chosen).to_be_focused()
    keys.press("Enter")
    expect(chosen).to_have_attribute("aria-pressed", "true")
    expect(chosen).to_be_focused()
    assert re.search(r"answer|first either way", playground.verdict())
    page.locator("#sizes input").last.focus()
    keys.press("ArrowLeft")
    expect(page.locator("#sizes input").nth(-2)).to_be_checked()
    expect(page.locator("#sizes input").nth(-2)).to_be_focused()
