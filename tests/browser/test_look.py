"""The page fits, can be read in light and dark, and stays readable when there is much of it."""

import pytest
from playwright.sync_api import expect

from tests.browser.playground import Playground

pytestmark = pytest.mark.browser

# Relative luminance and contrast after WCAG 2.2; a canvas turns any CSS colour into sRGB bytes.
LUMINANCE = """
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const bytes = (color) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (color) => {
    const linear = bytes(color).slice(0, 3)
      .map((byte) => byte / 255)
      .map((share) => share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const contrast = (one, two) => {
    const [low, high] = [luminance(one), luminance(two)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
"""
SHADES = (
    """cells => {"""
    + LUMINANCE
    + """
  const contrasts = [];
  for (const cell of cells) {
    for (let step = 0; step <= 20; step += 1) {
      cell.style.setProperty("--share", step / 20);
      const { color, backgroundColor } = getComputedStyle(cell);
      contrasts.push(contrast(color, backgroundColor));
    }
  }
  return contrasts;
}"""
)
# Every text with less contrast than 4.5 to what is painted behind it, and every text that is cut.
UNREADABLE = (
    """() => {"""
    + LUMINANCE
    + """
  const found = [];
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (bytes(color)[3] === 255) return color;
    }
    return getComputedStyle(document.body).backgroundColor;
  };
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const box = element.getBoundingClientRect();
    if (!own || box.width < 2 || element.closest(".unseen, svg") || !element.checkVisibility()) {
      continue;
    }
    const { color, overflowX } = getComputedStyle(element);
    const ratio = contrast(color, behind(element));
    const cut = element.scrollWidth > element.clientWidth + 1 && overflowX === "hidden";
    if (ratio < 4.5 || (cut && !element.matches(".excerpt"))) {
      found.push([element.tagName, element.className, ratio, element.textContent].join(" "));
    }
  }
  return found;
}"""
)

SCHEMES = ("light", "dark")
WIDTHS = (1440, 390, 320)


def show(playground: Playground, scheme: str, width: int) -> None:
    playground.page.emulate_media(color_scheme=scheme)
    playground.page.set_viewport_size({"width": width, "height": 844})


def overlapping(playground: Playground, *places: str) -> list[tuple[str, str]]:
    """Pairs of places that cover each other."""
    boxes = {place: playground.page.locator(place).bounding_box() for place in places}
    return [
        (one, two)
        for one, a in boxes.items()
        for two, b in boxes.items()
        if one < two
        and min(a["x"] + a["width"], b["x"] + b["width"]) - max(a["x"], b["x"]) > 1
        and min(a["y"] + a["height"], b["y"] + b["height"]) - max(a["y"], b["y"]) > 1
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ask_fits_its_window_and_all_of_it_can_be_read(playground, scheme):
    cards = (".documents", "section:has(#alone)", "section:has(#late)", "#below", "#code")
    for width in WIDTHS:
        show(playground, scheme, width)
        assert playground.overflow() == 0
        assert playground.page.evaluate(UNREADABLE) == []
        assert overlapping(playground, *cards, "section:has(#sizes)", "section:has(#tasks)") == []
        tops = [playground.page.locator(card).bounding_box()["y"] for card in cards[1:3]]
        assert (tops[0] == tops[1]) == (width == 1440), "side by side where there is room"
    playground.page.get_by_label("Your question").fill("Something else?")
    playground.documents("")
    playground.page.get_by_role("button", name="Ask", exact=True).click()
    expect(playground.alert()).not_to_be_empty()
    for width in WIDTHS:
        show(playground, scheme, width)
        assert playground.overflow() == 0
        assert playground.page.evaluate(UNREADABLE) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_compare_fits_its_window_and_all_of_it_can_be_read(comparing, scheme):
    comparing.switch_late_chunking(on=True)
    for texts in ((), ("one", "two"), [f"t {i}" for i in range(7)], [f"t {i}" for i in range(40)]):
        comparing.compare(*texts)
        for width in WIDTHS:
            show(comparing, scheme, width)
            assert comparing.overflow() == 0
            assert comparing.page.evaluate(UNREADABLE) == []
            cards = ("#controls", "#heat", "#map-card", "#near-card", "#code")
            assert overlapping(comparing, *cards) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_shade_leaves_its_text_a_contrast_of_at_least_4_5(playground, scheme):
    playground.page.emulate_media(color_scheme=scheme)
    assert min(playground.page.locator("#reading .chunk").evaluate_all(SHADES)) >= 4.5
    playground.page.get_by_label("Your question").fill("changed: results are grey now")
    assert min(playground.page.locator("#reading .chunk").evaluate_all(SHADES)) >= 4.5
    playground.compare()
    playground.switch_late_chunking(on=True)
    playground.compare("one", "two", "three", "Zinsen", "rates")
    cells = playground.page.locator("#heat-maps td[data-pair]:not(.itself)")
    assert min(cells.evaluate_all(SHADES)) >= 4.5
    cells.evaluate_all("cells => cells.forEach((cell) => (cell.className = 'less'))")
    assert min(cells.evaluate_all(SHADES)) >= 4.5


def test_in_a_low_window_the_first_screen_has_question_verdict_and_first_ranks(playground):
    playground.page.set_viewport_size({"width": 1440, "height": 700})
    for place in ("#question", "#sentence", "#alone .hit >> nth=4", "#late .hit >> nth=4"):
        expect(playground.page.locator(place)).to_be_in_viewport(ratio=0.95)


def test_on_a_phone_the_first_screen_has_question_button_and_verdict(playground):
    playground.page.set_viewport_size({"width": 390, "height": 844})
    for place in ("#question", "#ask-form button", "#sentence", "#why"):
        expect(playground.page.locator(place)).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("width", [1440, 320])
def test_very_long_texts_and_names_do_not_widen_the_page(playground, width):
    playground.page.set_viewport_size({"width": width, "height": 844})
    playground.documents(f"=== {'name' * 60}\n{'x' * 900} end. {'word ' * 300}.\n=== b\nShort.")
    playground.ask("What is it?")
    assert playground.overflow() == 0
    playground.compare("a very long line " * 200, "y" * 2000)
    assert playground.overflow() == 0
    excerpt = playground.page.locator("#near .excerpt").first
    assert excerpt.evaluate("each => each.scrollWidth > each.clientWidth")


def test_heat_maps_are_tables_with_headers_for_rows_and_columns(comparing):
    comparing.compare("one", "two")
    table = comparing.page.get_by_role("table", name="Cosine")
    assert table.get_by_role("columnheader").all_inner_texts() == ["1", "2"]
    headers = table.get_by_role("rowheader").get_by_role("button").all()
    assert [header.get_attribute("title") for header in headers] == ["one", "two"]


def test_texts_to_compare_are_shown_as_text_and_in_their_own_direction(comparing):
    comparing.compare("<img src=x onerror=alert(1)>", "שלום עולם")
    expect(comparing.page.locator("#near p")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(comparing.page.locator("#near li .excerpt")).to_have_css("direction", "rtl")
    assert comparing.page.locator("main img[src]").count() == 0


def test_the_page_says_what_is_served_and_that_it_is_small(playground):
    expect(playground.page.get_by_role("banner")).to_contain_text("demo · quintet-mini")
    expect(playground.page.get_by_role("contentinfo")).to_contain_text("small embedded model")
    expect(playground.page.get_by_role("link", name="Reference")).to_have_attribute("href", "docs")


def test_focus_can_be_seen(playground):
    for place in ("#question", "#examples", "#late .hit >> nth=0", "#reading .chunk >> nth=0"):
        box = playground.page.locator(place)
        box.focus()
        playground.page.keyboard.press("Shift")
        assert box.evaluate("box => parseFloat(getComputedStyle(box).outlineWidth)") >= 2


def test_nothing_moves_for_those_who_do_not_want_it(playground):
    playground.page.emulate_media(reduced_motion="reduce")
    moving = playground.page.evaluate(
        """[...document.querySelectorAll("*")].flatMap((element) =>
          [null, "::before", "::after"].map((part) => getComputedStyle(element, part)))
          .filter((style) => style.transitionDuration !== "0s" || style.animationName !== "none")
          .length"""
    )
    assert moving == 0
