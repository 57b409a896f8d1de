"""Where the service asks for a key, the page does, and then works as ever."""

import pytest
from playwright.sync_api import expect

from app.keys import add_key
from tests.browser.playground import Playground
from tests.server import running

pytestmark = pytest.mark.browser


def test_the_page_asks_for_a_key_when_the_service_does(browser, tmp_path):
    key = add_key(tmp_path / "keys", "person")
    with running(keys_file=tmp_path / "keys") as service:
        playground = Playground(browser.new_page(), service)
        page = playground.page
        page.goto(service.url)
        field = page.get_by_label("Key", exact=True)
        expect(page.get_by_role("alert")).to_have_text(
            "this service asks for a key; send the header Authorization: Bearer KEY."
        )
        expect(field).to_be_focused()
        field.fill("wrong")
        field.press("Enter")
        expect(page.get_by_role("alert")).to_have_text(
            "this key is not known here, or not any more."
        )
        expect(page.locator("#answers")).to_be_hidden()
        field.fill(f" {key} ")
        field.press("Enter")
        playground.wait("Embedded 5 texts.")
        expect(page.get_by_role("alert")).to_be_empty()
        assert 'Bearer $QUINTET_API_KEY"' in playground.snippet("curl")
        assert 'os.environ["QUINTET_API_KEY"]' in playground.snippet("python")
        assert key not in page.content()
        page.close()


def test_the_page_has_no_field_for_a_key_where_none_is_asked_for(playground):
    expect(playground.page.locator("#key-field")).to_be_hidden()
    assert "Bearer" not in playground.snippet("curl")
