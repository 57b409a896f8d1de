"""Every route but the probes asks for a key, and the log has neither a key nor a text."""

import hashlib
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from app.access.keyfile import add_key
from app.api.routes import router
from app.application import create_app
from app.batches.routes import router as batch_router
from app.dialects import cohere, google, ollama, tei
from app.settings import Settings
from tests.app.answers import assert_error
from tests.checkpoints import WEIGHT, Shape, random_tensors, write_original
from tests.server import Service, bearer, running

# Committed, and equal to what is served: see test_documents.py.
DOCUMENT = json.loads((Path(__file__).parents[3] / "openapi.json").read_text())
OPEN = {"/live", "/ready", "/ping", "/health"}
# Left out of the document; all of them are for people with a browser.
PAGES = {"/", "/playground", "/docs", "/docs/", "/openapi.json"}
GUARDED = [
    (method.upper(), path.format(name="quintet-mini", id="x"))
    for path, operations in DOCUMENT["paths"].items()
    for method in operations
    if path not in OPEN
]
# Routes of other APIs, whose errors have their own form, and what is sent to them.
NAMED = {"model": "quintet-mini"}
CONTENT = {"content": {"parts": [{"text": "x"}]}}
DIALECTS = {
    "/v2/embed": {**NAMED, "texts": ["x"], "input_type": "clustering"},
    "/v1/embed": {**NAMED, "texts": ["x"]},
    "/v1beta/models/quintet-mini:embedContent": CONTENT,
    "/v1beta/models/quintet-mini:batchEmbedContents": {"requests": [CONTENT]},
    "/api/embed": {**NAMED, "input": "x"},
    "/api/embeddings": {**NAMED, "prompt": "x"},
    "/api/show": NAMED,
    "/api/tags": None,
    "/api/version": None,
    "/embed": {"inputs": "x"},
    "/embed_all": {"inputs": "x"},
}
# Routes of batch jobs, which this service has no folder for.
JOBS = ("/v1/files", "/v1/batch")
# What callers say in confidence.
SAID = "Geheimnis"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys"


@pytest.fixture(scope="module")
def key(file: Path) -> str:
    return add_key(file, "search")


@pytest.fixture(scope="module")
def defective(shape: Shape, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a word whose row in the model's table is not finite."""
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, SAID: 4}
    tensors = random_tensors(shape)
    tensors[f"roberta.embeddings.word_embeddings{WEIGHT}"][vocabulary[SAID]] = torch.nan
    folder = tmp_path_factory.mktemp("defective") / "quintet-mini"
    write_original(folder, shape, tensors)
    words = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(words))
    return folder


@pytest.fixture(scope="module")
def keyed(file: Path, key: str, defective: Path) -> Iterator[Service]:
    limits = {"metrics_open": False, "log_format": "json"}
    with running(keys_file=file, model=defective, **limits) as service:
        yield service


def test_what_the_document_leaves_out_is_known() -> None:
    """So that a route that is hidden there cannot be open unseen."""
    dialects = [each.DIALECT.router.routes for each in (cohere, google, ollama, tei)]
    ours = [create_app(Settings()).routes, router.routes, batch_router.routes]
    routes = chain(*ours, *dialects)
    paths = {path.replace(":path}", "}") for each in routes if (path := getattr(each, "path", ""))}
    assert paths == PAGES | set(DOCUMENT["paths"])


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_a_key_that_is_known_nothing_is_answered(
    keyed: Service, key: str, method: str, path: str
) -> None:
    with keyed.client() as client:
        body: Any = DIALECTS.get(path)
        if body is None and method == "POST":
            body = {"data" if path == "/invocations" else "input": ["x"]}
        for sent in (None, "Bearer", key, f"Basic {key}"):
            headers = {"authorization": sent} if sent else {}
            answer = client.request(method, path, headers=headers, json=body)
            assert_refused(answer, path, "AUTH_MISSING_API_KEY", "asks for a key")
            assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in (
            "x",
            key[:-1],
            key + "x",
            key.upper(),
            hashlib.sha256(key.encode()).hexdigest(),
        ):
            answer = client.request(method, path, headers=bearer(wrong), json=body)
            assert_refused(answer, path, "AUTH_INVALID_API_KEY", "this key is not known")
            if path not in DIALECTS:
                assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
        answer = client.request(method, path, headers=bearer(key), json=body)
        assert answer.status_code == (404 if path.startswith(JOBS) else 200), answer.text


def assert_refused(answer: httpx.Response, path: str, code: str, said: str) -> None:
    if path in DIALECTS:
        assert answer.status_code == 401
        assert said in answer.text
    else:
        assert_error(answer, 401, code, said)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"input": [f"not {SAID}s", "x"]}, 200, None),
        ({"input": SAID}, 500, "FORWARD_FAILED"),
        ({"input": SAID, "task": SAID}, 422, "VALIDATION_ERROR"),
        ({"input": SAID, "model": SAID}, 404, "INPUT_MODEL_NOT_FOUND"),
        ({"input": [SAID] * 3000}, 400, "INPUT_LIMIT_EXCEEDED"),
        (f'{{"input": "{SAID}', 400, "INPUT_INVALID_JSON"),
    ],
)
def test_no_text_and_no_key_is_in_the_log_whatever_becomes_of_a_request(
    keyed: Service, key: str, body: Any, status: int, code: str | None
) -> None:
    name = f"case-{status}-{code}"
    headers = {**bearer(key), "x-request-id": name}
    sent = body if isinstance(body, str) else json.dumps(body)
    url = f"{keyed.url}/v1/embeddings"
    assert httpx.post(url, content=sent, headers=headers, timeout=60).status_code == status
    line = json.loads(keyed.log.wait_for(f'"request_id": "{name}"').string)
    assert (line["status"], line.get("code"), line["key"]) == (status, code, "search")
    if status == 500:
        keyed.log.wait_for("a row of 3 tokens has numbers that are not finite")
    text = keyed.log.text()
    for line in text.splitlines():
        assert isinstance(json.loads(line), dict)
    for secret in (SAID, key, hashlib.sha256(key.encode()).hexdigest()):
        assert secret not in text
