"""The reference in Chromium, and what a browser lets pages of other origins do."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytestmark = pytest.mark.browser

CASES = [(scheme, width) for scheme in ("light", "dark") for width in (1440, 390, 320)]


@pytest.mark.parametrize(("scheme", "width"), CASES)
def test_the_reference_fits_its_window_and_has_nothing_to_complain_of(unopened, scheme, width):
    page = unopened.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"{unopened.service.url}/docs/")
    assert page.url.endswith("/docs")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 23, 22)"
    assert dark == (scheme == "dark")
    assert unopened.complaints == []


def test_the_reference_is_walked_with_the_keyboard(unopened):
    page = unopened.page
    page.goto(f"{unopened.service.url}/docs")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#content"
    page.get_by_role("link", name="POST /tokenize").press("Enter")
    assert page.evaluate("location.hash") == "#post-tokenize"


@pytest.fixture
def elsewhere():
    """The address of another server on this machine, which has an empty page."""

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_page_of_another_origin_cannot_keep_the_service_busy(service, browser, elsewhere):
    before = service.metric("tokens_total"), service.metric("refused_total")
    page = browser.new_page()
    page.goto(elsewhere)
    kind = page.evaluate(
        """async (url) => {
          const body = '{"input": "x"}';
          return (await fetch(url, { method: "POST", mode: "no-cors", body })).type;
        }""",
        f"{service.url}/v1/embeddings",
    )
    page.close()
    assert kind == "opaque"  # it was sent, and answered
    assert service.metric("tokens_total") == before[0]
    assert service.metric("refused_total") == before[1] + 1
