"""The README's picture of the page, taken anew: python -m tests.browser.picture."""

from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from app.api.routes.pages import PLAYGROUND
from tests.browser.conftest import FLAGS
from tests.browser.playground import Playground
from tests.server import running

_SIZE = {"width": 1440, "height": 1130}


def take(path: Path) -> None:
    """Write the picture: the first example in the light theme, as it stands after loading."""
    with running() as service, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = chromium.new_page(viewport=_SIZE, color_scheme="light")
        playground = Playground(page, service)
        playground.open()
        playground.settled()
        expect(page.locator("#sentence")).to_contain_text("rises from rank 3 to rank 1")
        page.screenshot(path=path)
        chromium.close()


if __name__ == "__main__":
    take(PLAYGROUND / "playground.png")
