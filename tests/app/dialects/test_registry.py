"""Dialects as routes of the service: keys, limits, log, metrics, and the switch."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.access.keyfile import add_key
from tests.app.answers import assert_error
from tests.server import Service, running
from tests.waiting import wait_for_one_minute

GOOGLE = "/v1beta/models/quintet-mini:embedContent"
CONTENT = {"parts": [{"text": "a secret text"}]}
# Path -> a body, and where an error's sentence stands.
ROUTES: dict[str, tuple[dict[str, Any], str]] = {
    "/v2/embed": (
        {"texts": ["a secret text"], "model": "quintet-mini", "input_type": "clustering"},
        "message",
    ),
    "/embed": ({"inputs": "a secret text", "prompt_name": "separation"}, "error"),
    "/embed_all": ({"inputs": "a secret text", "prompt_name": "separation"}, "error"),
    "/api/embed": (
        {"input": "a secret text", "model": "quintet-mini", "options": {"task": "clustering"}},
        "error",
    ),
    GOOGLE: ({"content": CONTENT, "taskType": "CLUSTERING"}, "error"),
}
ROUTE_OF = {GOOGLE: "/v1beta/models/{name:path}:embedContent"}


def sentence(answer: httpx.Response, key: str) -> str:
    said = answer.json()[key]
    return str(said["message"] if isinstance(said, dict) else said)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    path = Path(tmp_path_factory.mktemp("keys")) / "keys"
    key = add_key(path, "team")
    with running(keys_file=path, max_requests_per_minute=len(ROUTES)) as service:
        yield service, key


@pytest.mark.parametrize("path", ROUTES)
def test_a_dialect_counts_and_logs_as_any_route(service: Service, path: str) -> None:
    body, _ = ROUTES[path]
    name = re.sub(r"\W", "-", path)
    with service.client(headers={"x-request-id": f"log-{name}"}) as client:
        before = service.metric("tokens_total", client)
        answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        tokens = service.metric("tokens_total", client) - before
        text = client.get("/metrics").text
    assert tokens == service.embed(input="a secret text").json()["usage"]["total_tokens"]
    line = service.log.wait_for(f"POST .*request_id=log-{name} ").string
    for part in (f"POST {path} 200", "task=separation", "inputs=1", f"tokens={tokens:.0f}"):
        assert part in line
    assert "secret" not in service.log.text()
    assert f'quintet_requests_total{{route="{ROUTE_OF.get(path, path)}",status="200"}}' in text


def test_a_dialect_asks_for_keys_and_limits_in_its_own_form(limited: tuple[Service, str]) -> None:
    service, key = limited
    with service.client() as client:
        for path, (body, where) in ROUTES.items():
            none = client.post(path, json=body)
            assert none.status_code == 401
            assert "asks for a key" in sentence(none, where)
        wait_for_one_minute()
        for path, (body, _) in ROUTES.items():
            header = (
                {"x-goog-api-key": key} if path == GOOGLE else {"authorization": f"Bearer {key}"}
            )
            answer = client.post(path, json=body, headers=header)
            assert answer.status_code == 200, answer.text
        for path, (body, where) in ROUTES.items():
            over = client.post(path, json=body, headers={"x-goog-api-key": key})
            assert over.status_code == 429
            assert "requests per minute" in sentence(over, where)
            assert int(over.headers["retry-after"]) > 0


def test_a_dialect_says_the_space_of_its_vectors_and_refuses_another_one(service: Service) -> None:
    spaces = httpx.get(f"{service.url}/info").json()["embedding_spaces"]
    of_tokens = set()
    for path, (body, where) in ROUTES.items():
        space = service.post(path, **body).headers["x-embedding-space"]
        if path == "/embed_all":
            of_tokens = set(space.split("."))
        else:
            assert space == spaces["separation"], path
        headers = {"x-embedding-space": spaces["classification"]}
        refused = httpx.post(service.url + path, json=body, headers=headers)
        assert refused.status_code == 412
        for said in (space, spaces["classification"]):
            assert said in sentence(refused, where)
    raw = service.embed(input="x", task="separation", normalized=False)
    assert not of_tokens & {*raw.headers["x-embedding-space"].split("."), *str(spaces).split(".")}


def test_errors_before_a_route_have_its_form_too(service: Service) -> None:
    for path, (body, where) in ROUTES.items():
        answer = httpx.post(service.url + path, json=body, headers={"host": "evil.example"})
        assert answer.status_code == 403
        assert "is no name of this service" in sentence(answer, where)
        broken = httpx.post(service.url + path, content=b"{")
        assert broken.status_code in (400, 422)
        assert "not valid JSON" in sentence(broken, where)


def test_a_dialect_may_be_turned_off() -> None:
    with running(dialects="google") as service:
        for path, (body, _) in ROUTES.items():
            answer = service.post(path, **body)
            if path == GOOGLE:
                assert answer.status_code == 200
            else:
                assert_error(answer, 404, "RESOURCE_NOT_FOUND", f"there is no {path}")
        posted = service.post("/", inputs="x")
        assert_error(posted, 405, "METHOD_NOT_ALLOWED", "texts go to /v1/embeddings")
        assert "model_id" not in httpx.get(f"{service.url}/info").json()
        voyages = service.embed(input="x", output_dtype="int8")
        assert voyages.headers["x-ignored-fields"] == "output_dtype"
        paths = httpx.get(f"{service.url}/openapi.json").json()["paths"]
        assert not [path for path in paths if "embed" in path and path in ROUTES]
