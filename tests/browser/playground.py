"""The playground as a person uses it: what can be pressed, and what can be read."""

import base64
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from playwright.sync_api import Locator, Page, expect

from tests.server import Service

WITHOUT, WITH, DIFFERENCE = "Without", "With late chunking", "Difference"


@dataclass
class Playground:
    """An open page, and all that it sent and complained of."""

    page: Page
    service: Service
    sent: list[tuple[str, Any]] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Keep what the page sends and complains of."""

        def note(request: Any) -> None:
            if request.url.startswith("blob:"):
                return  # a file that the page saves
            self.hosts.add("/".join(request.url.split("/")[:3]))
            if request.method == "POST":
                self.sent.append((request.url.rpartition("/")[2], request.post_data_json))

        self.page.on("request", note)
        self.page.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, fragment: str = "") -> None:
        """Load the page, which asks its first example at once, or what the fragment says."""
        self.page.goto(f"{self.service.url}/{fragment}")
        self.wait()

    def wait(self) -> None:
        """Until the page has shown something and is not busy."""
        expect(self.page.locator("#views")).to_be_visible()
        expect(self.page.locator("#sentence, #lead").locator("visible=true")).not_to_be_empty()
        expect(self.page.locator("[aria-busy=true]")).to_have_count(0)

    def said(self, path: str = "embeddings") -> list[dict[str, Any]]:
        """Bodies that the page sent to a path, in order."""
        return [body for to, body in self.sent if to == path]

    def alert(self) -> Locator:
        return self.page.get_by_role("alert")

    # Ask

    def documents(self, text: str) -> None:
        """Write into the box of documents."""
        if self.page.locator("#writing").is_hidden():
            self.page.get_by_role("button", name="Edit").click()
        self.page.locator("#documents-text").fill(text)

    def ask(self, question: str | None = None) -> None:
        """Press Ask and wait for the lists and for every task."""
        if question is not None:
            self.page.get_by_label("Your question").fill(question)
        self.sent.clear()
        with self.page.expect_response(lambda answer: answer.url.endswith("/metrics")):
            self.page.get_by_role("button", name="Ask", exact=True).click()
        self.settled()

    def settled(self) -> None:
        """Until every task has answered, too."""
        self.wait()
        expect(self.page.locator("#task-lead")).to_contain_text("at once")

    def example(self, title: str) -> None:
        with self.page.expect_response(lambda answer: answer.url.endswith("/metrics")):
            self.page.locator("#examples").select_option(label=title)
        self.settled()

    def ranked(self, which: str) -> list[tuple[int, str, float]]:
        """A list as it is shown: rank, words, similarity."""
        rows = self.page.locator(f"#{which} .hit")
        parts = "rows => rows.map(row => ['.rank', '.words', '.score'].map(part => "
        parts += "row.querySelector(part).textContent))"
        return [
            (int(rank), words.removesuffix("the answer").strip(), number(score))
            for rank, words, score in rows.evaluate_all(parts)
        ]

    def verdict(self) -> str:
        return self.page.locator("#sentence").inner_text()

    # Compare texts

    def compare(self, *texts: str) -> None:
        """Go to "Compare texts" with texts, a line each, and wait for their heat map."""
        if self.page.locator("#compare").is_hidden():
            self.page.get_by_role("link", name="Compare texts").click()
            self.wait()
        if texts:
            self.write(*texts)
            self.changed()

    def write(self, *texts: str) -> None:
        """As if pasted: typing line by line is slow for thousands."""
        self.page.locator("#texts").evaluate(
            "(box, text) => { box.value = text; "
            "box.dispatchEvent(new Event('input', { bubbles: true })); }",
            "\n".join(texts),
        )

    def changed(self) -> None:
        """Until what a change of the form asks for is shown."""
        expect(self.page.locator("#compare[data-soon]")).to_have_count(0)
        self.wait()

    def choose_task(self, name: str) -> None:
        self.page.get_by_role("radio", name=re.compile(f"^{re.escape(name)} ")).check()
        self.changed()

    def slide(self, index: int) -> None:
        """Put the slider of dimensions at its `index`th size."""
        self.page.get_by_label("Dimensions", exact=True).fill(str(index))
        self.changed()

    def switch_late_chunking(self, *, on: bool) -> None:
        self.page.get_by_role("switch", name="Late chunking").set_checked(on)
        self.changed()

    def shown(self, title: str) -> list[list[str]]:
        """The numbers of a heat map as they can be read."""
        table = self.page.get_by_role("table", name=title, exact=True)
        cells = "rows => rows.map(row => [...row.querySelectorAll('td')].map(td => td.textContent))"
        return table.locator("tbody tr").evaluate_all(cells)

    # Code

    def program(self, language: str) -> str:
        self.page.locator("#language-form").get_by_text(language, exact=True).click()
        return self.page.locator("#program").text_content() or ""

    def overflow(self) -> int:
        """How far the page can be scrolled sideways, in pixels."""
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")


def number(written: str) -> float:
    """What the page writes with a true minus."""
    return float(written.replace("\u2212", "-"))


def vectors(service: Service, body: dict[str, Any]) -> np.ndarray:
    """What the service answers to a body of /v1/embeddings, asked directly: (inputs, width)."""
    response = service.embed(**body)
    assert response.status_code == 200, response.text
    return np.array([_vector(each["embedding"]) for each in response.json()["data"]])


def chunks(service: Service, body: dict[str, Any]) -> tuple[list[str], np.ndarray]:
    """What the service answers to a body of /v1/documents: texts (C) and vectors (C, width)."""
    response = service.post("/v1/documents", **{**body, "return_text": True})
    assert response.status_code == 200, response.text
    found = [chunk for document in response.json()["data"] for chunk in document["chunks"]]
    return [each["text"] for each in found], np.array(
        [_vector(each["embedding"]) for each in found]
    )


def _vector(embedding: Any) -> np.ndarray:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), "<f4").astype(np.float64)
    return np.array(embedding)


def cosines(rows: np.ndarray) -> np.ndarray:
    """(N, D) -> (N, N)."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T
