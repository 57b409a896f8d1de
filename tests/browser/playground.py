"""The playground as a person uses it: what can be pressed, and what can be read."""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from playwright.sync_api import Page, expect

from tests.server import Service

WITHOUT, WITH, DIFFERENCE = "Without", "With late chunking", "Difference"
BUSY = re.compile("^Embedding")


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
            self.hosts.add("/".join(request.url.split("/")[:3]))
            if request.method == "POST":
                self.sent.append((request.url.rpartition("/")[2], request.post_data_json))

        self.page.on("request", note)
        self.page.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self) -> None:
        """Load the page, which embeds its example at once."""
        self.page.goto(f"{self.service.url}/")
        self.wait("Embedded 5 texts.")

    def write(self, *texts: str) -> None:
        self.page.get_by_label("Texts, one a line").fill("\n".join(texts))

    def choose_task(self, name: str) -> None:
        self.page.get_by_role("radio", name=re.compile(f"^{re.escape(name)} ")).check()

    def slide(self, index: int) -> None:
        """Put the slider of dimensions at its `index`th size."""
        self.page.get_by_label("Dimensions", exact=True).fill(str(index))

    def switch_late_chunking(self, *, on: bool) -> None:
        self.page.get_by_role("switch", name="Late chunking").set_checked(on)

    def press(self) -> None:
        self.page.get_by_role("button", name="Embed", exact=True).click()

    def embed(self, *texts: str) -> None:
        """Embed the given texts, or those that are there, and wait for the answers."""
        if texts:
            self.write(*texts)
        self.sent.clear()
        self.press()
        self.wait(re.compile("^Embedded"))

    def wait(self, status: str | re.Pattern[str]) -> None:
        """Until the page says so and is not busy."""
        expect(self.page.get_by_role("status")).to_have_text(status)
        expect(self.page.locator("#answers[aria-busy]")).to_have_count(0)

    def said(self, path: str = "embeddings") -> list[dict[str, Any]]:
        """Bodies that the page sent to a path, in order."""
        return [body for to, body in self.sent if to == path]

    def vectors(self, body: dict[str, Any]) -> np.ndarray:
        """What the service answers to a body, asked directly: (inputs, dimensions)."""
        response = self.service.embed(**body)
        assert response.status_code == 200, response.text
        return np.array([each["embedding"] for each in response.json()["data"]])

    def exact(self, title: str) -> np.ndarray:
        """The exact values of a heat map, from the cells' titles."""
        return np.array(self._cells(title, "cell => Number(cell.title)"))

    def shown(self, title: str) -> list[list[str]]:
        """The numbers of a heat map as they can be read."""
        return self._cells(title, "cell => cell.textContent")

    def _cells(self, title: str, what: str) -> list[list[Any]]:
        table = self.page.get_by_role("table", name=title, exact=True)
        every_row = f"rows => rows.map(row => [...row.querySelectorAll('td')].map({what}))"
        return table.locator("tbody tr").evaluate_all(every_row)

    def snippet(self, name: str) -> str:
        return self.page.locator(f"#{name}").inner_text()

    def alert(self) -> str:
        return self.page.get_by_role("alert").inner_text()


def cosines(vectors: np.ndarray) -> np.ndarray:
    """(N, D) -> (N, N)."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T
