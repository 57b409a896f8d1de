"""/docs: whole, readable without a script, offline and behind a proxy that adds a prefix."""

import json
import re
import shlex
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from tests.app.answers import SKINCARE
from tests.server import Service

ROOT = Path(__file__).parents[3]
VOID = {"meta", "link"}


class Page(HTMLParser):
    """Elements, links and texts; tags that do not fit together are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.examples: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "pre":
            self.examples.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "pre":
            self.examples[-1] += data

    def values(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(name))]


@pytest.fixture(scope="module")
def answer(service: Service) -> httpx.Response:
    return httpx.get(f"{service.url}/docs")


@pytest.fixture(scope="module")
def page(answer: httpx.Response) -> Page:
    return Page(answer.text)


@pytest.fixture(scope="module")
def document(service: Service) -> Any:
    return httpx.get(f"{service.url}/openapi.json").json()


def test_it_has_every_route_field_and_object(answer: httpx.Response, document: Any) -> None:
    text = unescape(re.sub("<[^>]*>", "", answer.text))
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"{method.upper()} {path}" in text
            assert operation["description"]
            for status in operation["responses"]:
                assert status in text
    for name, schema in document["components"]["schemas"].items():
        assert name in text
        assert schema["description"]
        for field in schema["properties"]:
            assert field in text


def test_it_is_text_and_styles_under_a_strict_policy(answer: httpx.Response, page: Page) -> None:
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self'")
    assert "script" not in policy
    assert "unsafe" not in policy
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "style", "iframe"}
    assert not page.values("style")
    assert not [name for _, each in page.tags for name in each if name.startswith("on")]
    assert page.tags[1] == ("html", {"lang": "en"}) or page.tags[0] == ("html", {"lang": "en"})


def test_nothing_in_it_is_absolute_and_all_of_it_is_there(service: Service, page: Page) -> None:
    anchors = page.values("id")
    assert len(anchors) == len(set(anchors))
    for link in (*page.values("href"), *page.values("src")):
        if link.startswith("#"):
            assert link[1:] in anchors
            continue
        assert not re.match(r"/|\w+:", link)
        # Whoever adds a prefix takes it away again.
        there = urljoin("https://proxy.example/embeddings/docs", link)
        own = there.removeprefix("https://proxy.example/embeddings")
        assert own.startswith("/")
        assert httpx.get(service.url + own).status_code == 200, link
    slash = httpx.get(f"{service.url}/docs/", follow_redirects=False)
    location = slash.headers["location"]
    assert urljoin("https://proxy.example/x/docs/", location) == "https://proxy.example/x/docs"


def test_its_examples_run_in_a_shell(service: Service, page: Page) -> None:
    commands = [each for each in page.examples if each.startswith("curl")]
    assert len(commands) == 18
    form = {"files": {"file": b"{}"}, "data": {"purpose": "batch"}}
    file = httpx.post(f"{service.url}/v1/files", **form).json()["id"]
    for command in commands:
        assert shlex.split(command)[0] == "curl"
        known = re.sub("file-[0-9a-f]{32}", file, command)
        whole = known.replace("$ADDRESS", service.url) + " --silent --fail-with-body"
        done = subprocess.run(["sh", "-c", whole], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)


def test_the_documents_example_is_the_readmes_request(document: Any) -> None:
    body = document["paths"]["/v1/embeddings"]["post"]["requestBody"]["content"]
    example = body["application/json"]["example"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    asked = re.findall(r"^curl .*?-d '(.*?)'$", readme, re.MULTILINE | re.DOTALL)
    assert example == json.loads(asked[0])
    body = document["paths"]["/v1/documents"]["post"]["requestBody"]["content"]
    assert body["application/json"]["example"] == json.loads(asked[1])
    assert example["input"] == SKINCARE


def test_every_body_has_an_example_and_every_field_a_description(document: Any) -> None:
    for operations in document["paths"].values():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                assert content["example"]
    for name, schema in document["components"]["schemas"].items():
        for field, value in schema["properties"].items():
            assert value.get("description") or "const" in value or "$ref" in value, (name, field)


def test_the_document_leads_to_the_service_behind_a_prefix(document: Any) -> None:
    (server,) = document["servers"]
    base = urljoin("https://proxy.example/embeddings/openapi.json", server["url"])
    assert base == "https://proxy.example/embeddings/"
