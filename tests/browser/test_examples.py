"""What each example says of late chunking is so, with the model that is embedded."""

import json
import re

import pytest

from tests.browser.playground import Playground

pytestmark = pytest.mark.browser

# Similarities nearer than this could change places with the next kernel or dtype.
CLEAR = 0.01


def examples(playground: Playground) -> list[dict]:
    path = f"{playground.service.url}/playground/examples.js"
    return playground.page.evaluate(
        "async (path) => JSON.parse(JSON.stringify((await import(path)).EXAMPLES))", path
    )


def test_every_example_shows_what_it_claims_by_a_clear_margin(playground):
    seen = {}
    for example in examples(playground):
        playground.example(example["title"])
        ranks, leads = [], []
        for which in ("alone", "late"):
            rows = playground.ranked(which)
            rank, _, own = next(row for row in rows if example["answer"] in row[1])
            others = [score for place, _, score in rows if place != rank]
            ranks.append(rank)
            leads.append(own - max(others))
        seen[example["title"]] = ranks, [round(lead, 2) for lead in leads]
        if example["claim"] == "better":
            assert ranks[1] == 1 < ranks[0], seen
            assert leads[1] >= CLEAR, seen
            assert playground.verdict().startswith("Late chunking helps here")
        else:
            assert ranks[0] == 1 < ranks[1], seen
            assert min(leads[0], -leads[1]) >= CLEAR, seen
            assert playground.verdict().startswith("Late chunking hurts here")
    print(json.dumps(seen, ensure_ascii=False, indent=1))


def test_examples_are_in_several_languages_and_one_shows_where_late_chunking_hurts(playground):
    found = examples(playground)
    assert {example["lang"] for example in found} >= {"en", "de", "zh", "ar"}
    assert {example["claim"] for example in found} == {"better", "worse"}
    assert all(re.search(r"^=== ", example["documents"]) for example in found)


def test_an_example_from_right_to_left_is_read_so(playground):
    playground.example("العربية: كيف الطقس؟")
    page = playground.page
    for place in ("#question", "#reading h3", "#reading .tinted", "#late .words"):
        direction = page.locator(place).first.evaluate("each => getComputedStyle(each).direction")
        assert direction == "rtl", place
    # The number stays at the row's start, the bar grows from its left.
    rank, words = (
        page.locator(f"#late .{part}").first.bounding_box() for part in ("rank", "words")
    )
    assert rank["x"] < words["x"]
