"""The request as programs: they agree with the controls, run, and get the API's answer."""

import json
import subprocess
import sys

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.playground import Playground

pytestmark = pytest.mark.browser

TRICKY = (
    """It's "quoted", \\n is no line end, $HOME and `id` are no commands; 100% !bang""",
    "<b>no bold</b> &amp; no entity",
    "שלום עולם 😀 \u2028 مرحبا",
    "a\ttab, a trailing backslash \\",
)


def output(*command: str, text: str | None = None) -> str:
    return subprocess.run(
        command, input=text, capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.fixture
def tricky(playground: Playground) -> Playground:
    """Texts that shells and Python could misread, with no control at its default."""
    playground.write(*TRICKY)
    playground.choose_task("retrieval.passage")
    playground.slide(1)
    playground.switch_late_chunking(on=True)
    return playground


def asked(**others: object) -> dict[str, object]:
    body = {
        "model": "quintet-mini",
        "task": "retrieval.passage",
        "dimensions": 64,
        "late_chunking": True,
        "input": list(TRICKY),
    }
    return {**body, **others}


def test_the_curl_command_runs_and_gets_the_answer(tricky):
    answer = json.loads(output("sh", "-c", tricky.snippet("curl")))
    vectors = np.array([each["embedding"] for each in answer["data"]])
    np.testing.assert_array_equal(vectors, tricky.vectors(asked()))


def test_the_python_program_runs_and_gets_the_answer(tricky):
    tell = "\nimport json; print(json.dumps([each.embedding for each in answer.data]))"
    lines = output(sys.executable, "-", text=tricky.snippet("python") + tell).splitlines()
    vectors = np.array(json.loads(lines[-1]), np.float32)
    np.testing.assert_array_equal(vectors, tricky.vectors(asked()).astype(np.float32))
    assert len(lines) == len(TRICKY) + 1


def test_what_is_sent_is_what_the_programs_say(tricky):
    tricky.embed()
    assert tricky.said()[-1] == asked()


def test_the_programs_follow_every_control_at_once(playground):
    def body() -> dict:
        return json.loads(playground.snippet("curl").partition("-d '")[2].removesuffix("'"))

    playground.write("one", "two")
    assert body()["input"] == ["one", "two"]
    playground.choose_task("separation")
    assert body()["task"] == "separation"
    assert '"task": "separation"' in playground.snippet("python")
    playground.slide(0)
    assert body()["dimensions"] == 32
    assert "dimensions=32," in playground.snippet("python")
    playground.switch_late_chunking(on=True)
    assert body()["late_chunking"] is True
    assert '"late_chunking": True' in playground.snippet("python")


@pytest.mark.parametrize("name", ["curl", "python"])
def test_a_copy_button_copies_what_is_shown(tricky, name):
    button = tricky.page.locator(f"[data-copies={name}]")
    button.click()
    expect(button).to_contain_text("Copied")
    expect(tricky.page.get_by_role("status")).to_have_text("Copied to the clipboard.")
    copied = tricky.page.evaluate("navigator.clipboard.readText()")
    assert copied == tricky.page.locator(f"#{name}").text_content()


def test_without_the_clipboard_of_secure_pages_it_is_copied_all_the_same(playground):
    page = playground.page
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.evaluate("addEventListener('copy', () => { window.copied = String(getSelection()) })")
    page.locator("[data-copies=curl]").click()
    expect(page.get_by_role("status")).to_have_text("Copied to the clipboard.")
    assert page.evaluate("window.copied").strip() == playground.snippet("curl").strip()
