"""Where the service asks for a key, one card does so before anything else, and then all works."""

import pytest
from playwright.sync_api import expect

from app.access.keyfile import add_key
from tests.browser.playground import Playground
from tests.server import running

pytestmark = pytest.mark.browser


def test_the_page_asks_for_a_key_first_and_never_shows_it(browser, tmp_path):
    key = add_key(tmp_path / "keys", "person")
    with running(keys_file=tmp_path / "keys") as service:
        playground = Playground(browser.new_page(), service)
        page = playground.page
        page.goto(service.url)
        card = page.get_by_role("heading", name="This service asks for a key")
        field = page.get_by_label("Key", exact=True)
        expect(card).to_be_visible()
        expect(field).to_be_focused()
        expect(page.locator("#views")).to_be_hidden()
        expect(page.get_by_label("Your question")).to_be_hidden()
        expect(page.get_by_role("link", name="Compare texts")).to_be_hidden()
        expect(playground.alert()).to_be_empty()
        field.fill("wrong")
        field.press("Enter")
        expect(playground.alert()).to_have_text("this key is not known here, or not any more.")
        expect(page.locator("#views")).to_be_hidden()
        field.fill(f" {key} ")
        with page.expect_response("**/v1/batches?*") as listed:
            field.press("Enter")
        playground.wait()
        playground.settled()
        assert listed.value.status == 404
        expect(page.locator("#jobs, #to-jobs").locator("visible=true")).to_have_count(0)
        expect(playground.alert()).to_be_empty()
        expect(card).to_be_hidden()
        for view in ("Ask", "Compare texts"):
            page.get_by_role("link", name=view, exact=True).click()
            playground.wait()
            assert '"Authorization: Bearer $QUINTET_API_KEY"' in playground.program("curl")
            assert "os.environ[" in playground.program("Python")
            assert "process.env.QUINTET_API_KEY" in playground.program("JavaScript")
            page.get_by_role("button", name="Copy a link to this view").click()
            expect(page.locator("#code-said")).to_contain_text("no key")
            assert key not in page.url
        assert key not in page.content()
        assert page.evaluate("JSON.stringify([{ ...localStorage }, document.cookie])") == '[{},""]'
        page.close()


def test_the_page_asks_for_no_key_where_none_is_needed(playground):
    expect(playground.page.locator("#key-card")).to_be_hidden()
    assert "Bearer" not in playground.program("curl")
