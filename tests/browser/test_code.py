"""The code of a view: programs run and get what is shown, files have it, and a link restores it."""

import json
import subprocess
import sys
from urllib.parse import urlencode

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.playground import Playground, chunks, vectors

pytestmark = pytest.mark.browser

TRICKY = (
    """It's "quoted", \\n is no line end, $HOME and `id` are no commands; 100% !bang ${x}""",
    "<b>no bold</b> &amp; no entity",
    "שלום עולם 😀 \u2028 مرحبا",
    "a\ttab, a trailing backslash \\",
)
RUN = """async (program) => {
  const lines = [];
  const console = { log: (...parts) => lines.push(parts.map(String).join(" ")) };
  await new (Object.getPrototypeOf(async () => {}).constructor)("console", program)(console);
  return lines;
}"""


def output(*command: str, text: str | None = None) -> str:
    return subprocess.run(
        command, input=text, capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.fixture
def asked(playground: Playground) -> Playground:
    """An ask of texts that shells, Python and JavaScript could misread, with a smaller size."""
    playground.documents("\n\n".join(TRICKY))
    playground.ask("""What's "quoted"?""")
    playground.page.locator("#sizes label").nth(1).click()
    return playground


@pytest.fixture
def compared(unopened: Playground) -> Playground:
    """Such texts to compare, with no control at its default."""
    said = {"view": "compare", "texts": "\n".join(TRICKY), "late": 1, "cut": 1, "overlap": 1}
    said |= {"task": "retrieval.passage", "size": 64}
    unopened.open(f"#{urlencode(said)}")
    return unopened


def best(playground: Playground) -> list[str]:
    """The first five as a program prints them."""
    return [f"{score:.2f}" for _, _, score in playground.ranked("late")[:5]]


def test_the_commands_of_an_ask_run_and_get_its_chunks(asked):
    answers = output("sh", "-c", asked.program("curl"))
    decoder = json.JSONDecoder()
    documents, end = decoder.raw_decode(answers)
    question, _ = decoder.raw_decode(answers, end)
    found = np.array(
        [chunk["embedding"] for document in documents["data"] for chunk in document["chunks"]]
    )
    scores = np.sort(found @ question["data"][0]["embedding"])[::-1]
    assert found.shape[1] == 64
    assert [f"{score:.2f}" for score in scores[:5]] == best(asked)


def test_the_python_program_of_an_ask_prints_the_list(asked):
    lines = output(sys.executable, "-", text=asked.program("Python")).splitlines()
    assert [line.split()[0] for line in lines if line[:2] in ("0.", "-0")] == best(asked)


def test_the_javascript_program_of_an_ask_prints_the_list(asked):
    lines = asked.page.evaluate(RUN, asked.program("JavaScript"))
    assert [line.split()[0] for line in lines] == best(asked)


def test_the_programs_of_a_comparison_run_and_get_its_vectors(compared):
    body = {
        "model": "quintet-mini",
        "task": "retrieval.passage",
        "dimensions": 64,
        "late_chunking": True,
        "late_chunking_overlap": 256,
        "truncate": True,
        "input": list(TRICKY),
    }
    sent = compared.said()[-1]
    judged = vectors(compared.service, body)
    curl = compared.program("curl")
    assert json.loads(curl.partition("-d '")[2].removesuffix("'").replace("'\\''", "'")) == body
    answer = json.loads(output("sh", "-c", curl))
    np.testing.assert_array_equal([each["embedding"] for each in answer["data"]], judged)
    tell = "\nimport json; print(json.dumps([each.embedding for each in answer.data]))"
    lines = output(sys.executable, "-", text=compared.program("Python") + tell).splitlines()
    np.testing.assert_allclose(json.loads(lines[-1]), judged, atol=1e-7)
    assert len(compared.page.evaluate(RUN, compared.program("JavaScript"))) == len(TRICKY)
    assert {**sent, "dimensions": 64} == {**body, "embedding_type": "base64"}


def download(playground: Playground, kind: str) -> bytes:
    with playground.page.expect_download() as saved:
        playground.page.get_by_role("button", name=f"Download .{kind}").click()
    assert saved.value.suggested_filename.endswith(f".{kind}")
    return saved.value.path().read_bytes()


def test_the_vectors_of_an_ask_are_saved(asked, tmp_path):
    body = {**asked.said("documents")[1], "dimensions": 64}
    texts, found = chunks(asked.service, body)
    (tmp_path / "a.npy").write_bytes(download(asked, "npy"))
    saved = np.load(tmp_path / "a.npy")
    assert saved.dtype == np.float32
    np.testing.assert_allclose(saved, found, atol=1e-6)
    records = [json.loads(line) for line in download(asked, "jsonl").decode().split("\n") if line]
    assert [record["text"] for record in records] == texts
    np.testing.assert_allclose([record["embedding"] for record in records], found, atol=1e-6)
    first = records[0]
    assert first["document"] == "Document 1"
    assert TRICKY[0][first["start"] : first["end"]] == first["text"]


def test_the_vectors_of_a_comparison_are_saved(compared, tmp_path):
    (tmp_path / "a.npy").write_bytes(download(compared, "npy"))
    judged = vectors(compared.service, {**compared.said()[-1], "dimensions": 64})
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), judged, atol=1e-6)


def link(playground: Playground) -> str:
    playground.page.get_by_role("button", name="Copy a link to this view").click()
    expect(playground.page.locator("#code-said")).to_contain_text("The link is copied")
    copied = playground.page.evaluate("navigator.clipboard.readText()")
    assert copied == playground.page.url
    return copied


def test_a_link_restores_an_ask(asked):
    asked.page.get_by_role("button", name="Edit").click()
    asked.page.get_by_label("Chunks are").select_option("tokens")
    asked.page.get_by_label("of at most").fill("12")
    asked.ask()
    asked.page.locator("#late .hit").nth(2).click()
    address, verdict = link(asked), asked.verdict()
    lists = asked.ranked("alone"), asked.ranked("late")
    asked.page.goto("about:blank")
    asked.page.goto(address)
    asked.settled()
    assert (asked.ranked("alone"), asked.ranked("late")) == lists
    assert asked.verdict() == verdict
    assert asked.page.locator("#sizes input").nth(1).is_checked()


def test_a_link_restores_a_comparison_and_back_and_forth_go_between_views(compared):
    address, shown = link(compared), compared.shown("Difference")
    compared.page.goto("about:blank")
    compared.page.goto(address)
    compared.wait()
    assert compared.shown("Difference") == shown
    assert compared.page.get_by_label("Cut texts that are too long").is_checked()
    compared.page.get_by_role("link", name="Ask", exact=True).click()
    expect(compared.page.locator("#ask")).to_be_visible()
    compared.settled()
    compared.page.go_back()
    expect(compared.page.locator("#compare")).to_be_visible()
    compared.wait()
    assert compared.shown("Difference") == shown


@pytest.mark.parametrize(("texts", "ordered"), [(8, False), (7, True)])
def test_a_link_restores_the_order_of_the_texts(comparing, texts, ordered):
    comparing.compare(*(f"text number {number}" for number in range(texts)))
    order = comparing.page.get_by_label("Similar texts next to each other")
    assert order.is_checked() != ordered
    order.set_checked(ordered)
    address = link(comparing)
    comparing.page.goto("about:blank")
    comparing.page.goto(address)
    comparing.wait()
    assert order.is_checked() == ordered


@pytest.mark.parametrize("secure", [True, False], ids=["clipboard", "no clipboard"])
def test_a_program_is_copied_with_and_without_the_clipboard_of_secure_pages(playground, secure):
    page = playground.page
    if not secure:
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        page.evaluate(
            "addEventListener('copy', () => { const box = document.activeElement;"
            " window.copied = box.value.slice(box.selectionStart, box.selectionEnd); })"
        )
    page.get_by_role("button", name="Copy the code").click()
    expect(page.locator("#code-said")).to_have_text("Copied.")
    expect(page.get_by_role("button", name="Copy the code")).to_be_focused()
    copied = page.evaluate("window.copied ?? navigator.clipboard.readText()")
    assert copied == page.locator("#program").text_content()


def test_the_code_is_one_click_away_and_keeps_the_address(playground):
    playground.page.get_by_role("link", name="Code").click()
    expect(playground.page.locator("#program")).to_be_in_viewport()
    expect(playground.page.locator("#code")).to_be_focused()
    assert "#" not in playground.page.url
