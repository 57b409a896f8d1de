"""How small? and Which task?: the rank of the answer by each size and by each adapter."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.judges import check, expected
from tests.browser.playground import chunks, vectors

pytestmark = pytest.mark.browser


def test_a_size_is_a_choice_that_asks_nothing_and_reorders_the_lists(playground):
    playground.ask()
    asked = len(playground.sent)
    width = playground.page.locator("#sizes input").last.input_value()
    for card in playground.page.locator("#sizes label").all():
        size = int(card.locator("input").input_value())
        card.click()
        for which, late in ("alone", False), ("late", True):
            check(playground.ranked(which), expected(playground, late, size))
        judged = expected(playground, True, size)
        rank = next(place for place, text, _ in judged if "four screws" in text)
        expect(card).to_contain_text(f"answer at rank {rank}")
        expect(card).to_contain_text(f"{size * 4:,} bytes")
        if str(size) != width:
            full = {text for _, text, _ in expected(playground, True)[:5]}
            kept = len(full & {text for _, text, _ in judged[:5]})
            expect(card).to_contain_text(f"keeps {kept} of the top 5")
    assert len(playground.sent) == asked


def test_every_adapter_is_asked_at_once_and_has_a_card(playground):
    playground.ask()
    tasks = ["retrieval.passage", "separation", "classification", "text-matching"]
    asked = playground.said("documents")[2:]
    assert [body["task"] for body in asked] == tasks
    cards = playground.page.locator("#tasks li")
    assert cards.count() == len(tasks)
    for body, card in zip(asked, cards.all(), strict=True):
        question = {**playground.said()[0], "task": body["task"].replace("passage", "query")}
        texts, found = chunks(playground.service, body)
        scores = found @ vectors(playground.service, question)[0]
        answer = next(i for i, text in enumerate(texts) if "four screws" in text)
        expect(card).to_contain_text(f"answer at rank {1 + (scores > scores[answer]).sum()}")
    playground.ask("Is there a fresh question about the battery of the Meteor?")
    lead = playground.page.locator("#task-lead")
    batches = re.search(r"8 requests at once, computed in (\d+) batch", lead.inner_text())
    assert 1 <= int(batches[1]) <= 8
    playground.ask()
    expect(lead).to_contain_text("8 requests at once, all of it computed before.")


def test_much_text_is_asked_with_every_task_only_when_told_to(playground):
    playground.documents(" ".join(f"Sentence number {i} is about nothing." for i in range(250)))
    playground.page.get_by_label("Your question").fill("What is it about?")
    playground.sent.clear()
    playground.page.get_by_role("button", name="Ask", exact=True).click()
    button = playground.page.get_by_role("button", name="Try every task (about ")
    expect(button).to_be_visible()
    playground.wait()
    assert len(playground.said("documents")) == 2
    button.click()
    playground.settled()
    assert len(playground.said("documents")) == 6


def test_tasks_that_failed_or_came_after_a_refused_question_can_be_tried_again(troubled):
    page, lead = troubled.page, troubled.page.locator("#task-lead")
    button = page.get_by_role("button", name="Try every task (about ")
    ask = page.get_by_role("button", name="Ask", exact=True)

    def refuse_one_task(route):
        if "separation" in route.request.post_data:
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/documents", refuse_one_task)
    ask.click()
    expect(troubled.alert()).to_contain_text("cannot be reached")
    expect(button).to_be_visible()
    expect(lead).to_be_empty()
    page.unroute("**/v1/documents")

    page.get_by_label("Your question").fill("")
    ask.click()
    expect(troubled.alert()).to_contain_text("no question yet")
    button.click()
    expect(lead).to_contain_text("8 requests at once")
    expect(button).to_be_hidden()
    assert page.locator("#tasks li").count() == 4
