"""The page fits, can be read in light and dark, and stays readable when there is much of it."""

import pytest
from playwright.sync_api import expect

from tests.browser.playground import DIFFERENCE, WITHOUT, Playground

pytestmark = pytest.mark.browser

# Relative luminance and contrast after WCAG 2.2; a canvas turns any CSS colour into sRGB bytes.
CONTRASTS = """cells => {
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const luminance = (color) => {
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    const linear = [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3)
      .map((byte) => byte / 255)
      .map((share) => share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const contrasts = [];
  const kinds = (cell) => cell.className ? ["less", "more"] : [""];
  for (const [cell, kind] of cells.flatMap((cell) => kinds(cell).map((kind) => [cell, kind]))) {
    cell.className = kind;
    for (let step = 0; step <= 20; step += 1) {
      cell.style.setProperty("--share", step / 20);
      const { color, backgroundColor } = getComputedStyle(cell);
      const [low, high] = [luminance(color), luminance(backgroundColor)].sort((a, b) => a - b);
      contrasts.push((high + 0.05) / (low + 0.05));
    }
  }
  return contrasts;
}"""

CASES = [(scheme, width) for scheme in ("light", "dark") for width in (1440, 390)]


def overflow(playground: Playground) -> int:
    """How far the page can be scrolled sideways, in pixels."""
    return playground.page.evaluate("document.documentElement.scrollWidth - innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_in_cells_have_a_contrast_of_at_least_4_5(playground, scheme):
    playground.page.emulate_media(color_scheme=scheme)
    playground.switch_late_chunking(on=True)
    playground.embed("one", "two", "three", "four", "Zinsen", "rates")
    cells = playground.page.locator("#heat-maps td[data-pair]:not(.itself)")
    contrasts = cells.evaluate_all(CONTRASTS)
    assert len(contrasts) == 21 * (2 + 2) * 30, "two similarities, and both signs of the difference"
    assert min(contrasts) >= 4.5
    playground.slide(0)  # the answers are now earlier ones, in grey
    assert min(cells.evaluate_all(CONTRASTS)) >= 4.5


@pytest.mark.parametrize(("scheme", "width"), CASES)
def test_the_page_fits_its_window(playground, scheme, width):
    playground.page.emulate_media(color_scheme=scheme)
    playground.page.set_viewport_size({"width": width, "height": 844})
    playground.switch_late_chunking(on=True)
    playground.embed()
    assert overflow(playground) == 0
    tops = [
        playground.page.get_by_role("table", name=title, exact=True).bounding_box()["y"]
        for title in (WITHOUT, DIFFERENCE)
    ]
    assert (tops[0] == tops[1]) == (width == 1440), "side by side where there is room"


@pytest.mark.parametrize("width", [1440, 390])
def test_sixty_texts_are_read_by_scrolling_within_the_heat_map(playground, width):
    playground.page.set_viewport_size({"width": width, "height": 844})
    playground.embed(*(f"text number {number} of many" for number in range(60)))
    assert overflow(playground) == 0
    assert [len(row) for row in playground.shown("Cosine")] == [60] * 60
    scroller = playground.page.get_by_role("region", name="Cosine")
    cell = playground.page.locator("#heat-maps td[data-pair='60 60']")
    assert cell.bounding_box()["width"] >= 40
    cell.scroll_into_view_if_needed()
    expect(cell).to_be_in_viewport()
    header = playground.page.locator("#heat-maps th[scope=row]").last
    frame, head = scroller.bounding_box(), header.bounding_box()
    assert abs(frame["x"] - head["x"]) < 2, "the row's header stays in sight"
    assert playground.page.locator(".point").count() == 60


def test_a_very_long_line_is_cut_with_dots_and_whole_in_its_title(playground):
    long = "a very long line " * 200
    playground.embed(long, "short")
    assert overflow(playground) == 0
    for place in ("#tokens .excerpt", "#heat-maps th[scope=row]"):
        excerpt = playground.page.locator(place).first
        assert excerpt.get_attribute("title") == long
        assert excerpt.evaluate("cell => cell.scrollWidth > cell.clientWidth")
        expect(excerpt).to_have_css("text-overflow", "ellipsis")


def test_heat_maps_are_tables_with_headers_for_rows_and_columns(playground):
    playground.embed("one", "two")
    table = playground.page.get_by_role("table", name="Cosine")
    assert table.get_by_role("columnheader").all_inner_texts() == ["1", "2"]
    headers = table.get_by_role("rowheader").all()
    assert [header.get_attribute("title") for header in headers] == ["one", "two"]


def test_texts_are_shown_as_texts_and_in_their_own_direction(playground):
    playground.embed("<img src=x onerror=alert(1)>", "שלום עולם")
    excerpts = playground.page.locator("#tokens .excerpt")
    expect(excerpts.first).to_have_text("<img src=x onerror=alert(1)>")
    expect(excerpts.last).to_have_css("direction", "rtl")
    assert playground.page.locator("main img[src]").count() == 0


def test_nothing_moves_for_those_who_do_not_want_it(playground):
    playground.page.emulate_media(reduced_motion="reduce")
    moving = playground.page.evaluate(
        """[...document.querySelectorAll("*")].flatMap((element) =>
          [null, "::before", "::after"].map((part) => getComputedStyle(element, part)))
          .filter((style) => style.transitionDuration !== "0s" || style.animationName !== "none")
          .length"""
    )
    assert moving == 0
