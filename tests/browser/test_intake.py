"""Documents come in as files, by drag and drop, and by pasting; nothing in them is markup."""

import json

import pytest
from playwright.sync_api import expect

from tests.browser.playground import Playground

pytestmark = pytest.mark.browser

DROP = """(files) => {
  const data = new DataTransfer();
  for (const [name, text] of Object.entries(files)) {
    data.items.add(new File([text], name));
  }
  for (const kind of ["dragover", "drop"]) {
    const event = new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
    if (document.body.dispatchEvent(event)) {
      throw new Error("the browser would leave the page and open the file");
    }
  }
}"""

CSV = '\ufeffid,text\nfirst,"A text, with a comma"\nsecond,"two ""quoted""\nlines"\n'
JSONL = "\n".join(
    json.dumps(record)
    for record in ({"text": "One.", "title": "first"}, "Two.", {"content": "Three.", "id": 3})
)


def asked(playground: Playground) -> list[tuple[str, str]]:
    playground.ask("What is it?")
    return [(each["id"], each["text"]) for each in playground.said("documents")[0]["input"]]


FILES = {
    "a.txt": ("One.\n\nStill one.", [("a.txt", "One.\n\nStill one.")]),
    "rule.txt": ("One.\n=== Two\n\\=== x\nEnd.", [("rule.txt", "One.\n=== Two\n\\=== x\nEnd.")]),
    "a.md": ("# Title\n\nText.", [("a.md", "# Title\n\nText.")]),
    "a.csv": (CSV, [("first", "A text, with a comma"), ("second", 'two "quoted"\nlines')]),
    "b.csv": ("kind;long\nx;the longest", [("b.csv:1", "long"), ("b.csv:2", "the longest")]),
    "c.csv": ("id,text\rx,One.\ry,Two.\r", [("x", "One."), ("y", "Two.")]),
    "a.jsonl": (JSONL, [("first", "One."), ("a.jsonl:2", "Two."), ("3", "Three.")]),
}


def test_a_file_becomes_documents_and_markdown_is_cut_as_markdown(playground):
    for name, (text, documents) in FILES.items():
        playground.page.locator("#by").evaluate("select => { select.value = 'sentence'; }")
        playground.page.locator("#files").set_input_files(
            {"name": name, "mimeType": "text/plain", "buffer": text.encode()}
        )
        expect(playground.page.get_by_label("Your question")).to_be_focused()
        assert asked(playground) == documents
        chunking = playground.said("documents")[0]["chunking"]["by"]
        assert chunking == ("markdown" if name.endswith(".md") else "sentences")


def test_a_link_with_a_choice_that_there_is_not_leaves_the_default(unopened):
    unopened.open("#view=ask&q=What+is+it%3F&docs=One.&by=foo")
    expect(unopened.page.locator("#by")).to_have_value("sentence")
    assert unopened.said("documents")[0]["chunking"]["by"] == "sentences"


def test_files_are_dropped_anywhere(playground):
    playground.page.evaluate(DROP, {"one.txt": "First.", "two.txt": "Second."})
    expect(playground.page.locator("#documents-text")).to_have_value(
        "=== one.txt\nFirst.\n=== two.txt\nSecond."
    )
    assert asked(playground) == [("one.txt", "First."), ("two.txt", "Second.")]


def test_files_dropped_on_compare_become_texts(comparing):
    comparing.page.evaluate(DROP, {"a.jsonl": '{"text": "one"}\n{"text": "two\\nlines"}'})
    comparing.changed()
    expect(comparing.page.locator("#texts-counted")).to_have_text("2 texts")
    assert comparing.said()[-1]["input"] == ["one", "two\nlines"]


def test_records_dropped_on_compare_stay_one_text_each_with_blank_lines_in_them(comparing):
    comparing.page.evaluate(DROP, {"a.md": "# One\r\n\r\nends.\r\n", "b.txt": "two\n \n\nlines"})
    comparing.changed()
    expect(comparing.page.locator("#texts-counted")).to_have_text("2 texts")
    assert comparing.said()[-1]["input"] == ["# One\nends.", "two\nlines"]


UNREADABLE = [
    ("a.jsonl", '{"text": "fine"}\n{oops', "Line 2 of a.jsonl is no JSON."),
    ("b.jsonl", '{"name": "x"}', 'Line 1 of b.jsonl has no field "text".'),
    ("a.txt", "  \n", "a.txt has no text."),
    ("a.pdf", "%PDF\0", "a.pdf is no text file; this page reads .txt, .md, .csv and .jsonl."),
    ("b.txt", "x" * (4 * 2**20 + 1), "b.txt has 4.1 MB; this page reads files of up to 4 MB."),
]


def test_a_file_that_cannot_be_read_is_a_sentence(playground):
    for name, text, sentence in UNREADABLE:
        playground.page.locator("#files").set_input_files(
            {"name": name, "mimeType": "text/plain", "buffer": text.encode()}
        )
        expect(playground.alert()).to_contain_text(sentence)


def test_a_file_in_another_encoding_is_refused_and_not_read_with_wrong_letters(playground):
    """As spreadsheets save CSV on Windows, and as its editor once saved texts."""
    before = playground.page.locator("#documents-text").input_value()
    files = {
        "old.csv": "text\nSchöne Grüße".encode("cp1252"),
        "old.txt": "Schöne Grüße".encode("latin-1"),
        "wide.csv": "text\nGuten Morgen".encode("utf-16"),
    }
    for name, content in files.items():
        playground.page.locator("#files").set_input_files(
            {"name": name, "mimeType": "text/plain", "buffer": content}
        )
        expect(playground.alert()).to_contain_text(f"{name} is no text in UTF-8: save it as UTF-8.")
    assert playground.page.locator("#documents-text").input_value() == before


def test_pasting_anywhere_replaces_the_documents(playground):
    page = playground.page
    page.evaluate("navigator.clipboard.writeText('Pasted one.\\n\\nPasted two.')")
    page.locator("#documents-title").click()
    page.keyboard.press("Control+V")
    expect(page.locator("#documents-text")).to_be_visible()
    assert [text for _, text in asked(playground)] == ["Pasted one.", "Pasted two."]


def test_documents_are_shown_as_text(playground):
    playground.documents('=== <i>name</i>\n<img src=x onerror="alert(1)"> & more.\n=== b\nOther.')
    playground.ask("What is it?")
    expect(playground.page.locator("#reading h3").first).to_have_text("<i>name</i>")
    expect(playground.page.locator("#reading .tinted").first).to_have_text(
        '<img src=x onerror="alert(1)"> & more.'
    )
    assert playground.page.locator("main img, main i").count() == 0
