"""Addresses: with a slash, without /v1, as Azure's clients have them, and nearly right."""

import asyncio
import re

import httpx
import numpy as np
import openai
import pytest

from app.api.paths import canonical, suggested
from tests.app.answers import SKINCARE, assert_error, vectors
from tests.server import Service

KNOWN = {"/v1/embeddings", "/v1/models", "/tokenize", "/invocations", "/docs", "/ready", "/health"}


@pytest.mark.parametrize("base", ["", "/v1", "/openai", "/openai/v1"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_one_route_under_all_its_addresses(service: Service, base: str, slash: str) -> None:
    body = {"input": "x y"}
    expected = vectors(service.embed(**body))
    with service.client(follow_redirects=False) as client:
        found = vectors(client.post(f"{base}/embeddings{slash}", json=body))
        np.testing.assert_allclose(found, expected, atol=2e-3)
        models = client.get("/v1/models").json()
        assert client.get(f"{base}/models{slash}").json() == models
        assert client.get(f"{base}/models/quintet-mini{slash}").json() in models["data"]


def test_a_slash_at_the_end_changes_nothing(service: Service) -> None:
    with service.client(follow_redirects=False) as client:
        for path in ("/live", "/ready", "/info", "/metrics", "/openapi.json"):
            assert client.get(f"{path}/").status_code == 200
        assert client.post("/tokenize/", json={"input": "x"}).status_code == 200
        assert client.post("/invocations/", json={"data": "x"}).status_code == 200
        assert client.get("/v1/embeddings/").headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        *(("/v1/batches", "GET, HEAD, POST"), ("/v1/files/x", "DELETE, GET, HEAD")),
        *(("/v1/embeddings", "POST"), ("/info", "GET, HEAD")),
        ("/playground/x", "GET, HEAD"),
    ],
)
def test_a_refused_method_is_answered_with_all_that_are_taken(
    service: Service, path: str, allowed: str
) -> None:
    with service.client() as client:
        refused = client.put(path)
    assert_error(refused, 405, "METHOD_NOT_ALLOWED", f"{path} takes {allowed}, not PUT")
    assert refused.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        *(("/v1/v1/embeddings", "/v1/embeddings"), ("//v1/embeddings", "/v1/embeddings")),
        *(("/v1/embeddings//", "/v1/embeddings"), ("/v1/embedding", "/v1/embeddings")),
        *(("/V1/Embeddings", "/v1/embeddings"), ("/api/v1/embeddings", "/v1/embeddings")),
        *(("/v3/embed", "/embed"), ("/v1/embeddings/embeddings", "/v1/embeddings")),
        *(("/v1/model", "/v1/models"), ("/v1/tokenize", "/tokenize"), ("/tokenise", "/tokenize")),
        *(("/invocation", "/invocations"), ("/redoc", "/docs"), ("/healthz", "/health")),
        *(
            ("/swagger", None),
            ("/v1/rerank", None),
            ("/v1/chat/completions", None),
            ("/nope", None),
        ),
        *(("/favicon.ico", None), ("/v1", None), ("//", None), ("/" + "a" * 5000, None)),
    ],
)
def test_a_path_that_does_not_exist_says_which_one_does(
    service: Service, path: str, meant: str | None
) -> None:
    answer = httpx.post(service.url + path, json={"input": "x"}, follow_redirects=False)
    said = f"did you mean {meant}? See /docs." if meant else "; see /docs."
    if path == "//":
        said = "there is no //"
    assert_error(answer, 404, "RESOURCE_NOT_FOUND", said)
    assert len(answer.content) < 1000


def test_suggestions_are_paths_that_exist() -> None:
    for path in ("/v1/embeding", "/x/tokenize", "/heath", "/a/b/c", ""):
        assert suggested(path, KNOWN) in KNOWN | {None}
    for path in KNOWN:
        assert canonical(path) == path == canonical(f"{path}/") or path == "/docs"
    assert canonical("/") == "/"
    assert canonical("/docs/") == "/docs/"


def test_texts_sent_to_the_page_hear_where_they_go(service: Service) -> None:
    """POST / is text-embeddings-inference's; where that is off, the answer says where texts go."""
    for method in ("PUT", "DELETE"):
        answer = httpx.request(method, service.url + "/")
        assert_error(answer, 405, "METHOD_NOT_ALLOWED", "texts go to /v1/embeddings")


def test_addresses_do_not_become_labels(service: Service) -> None:
    with service.client() as client:
        for number in range(20):
            client.get(f"/nope-{number}")
            client.post(f"/openai/deployments/nope-{number}/embeddings", json={"input": "x"})
            client.get(f"/models/nope-{number}/")
        text = client.get("/metrics").text
    routes = set(re.findall(r'quintet_requests_total\{route="([^"]*)"', text))
    assert "/openai/deployments/{name:path}/embeddings" in routes
    assert not [route for route in routes if "nope" in route]


def test_azures_client_and_its_asynchronous_one(service: Service) -> None:
    texts = SKINCARE[:2]
    expected = vectors(service.embed(input=texts, task="separation"))
    options = {"azure_endpoint": service.url, "api_key": "none", "api_version": "2024-10-21"}
    asked = {"input": texts, "extra_body": {"task": "separation"}}
    with openai.AzureOpenAI(**options) as client:
        answer = client.embeddings.create(model="text-embedding-3-small", **asked)
        found = np.array([each.embedding for each in answer.data])
        np.testing.assert_allclose(found, expected, atol=2e-3)
        assert answer.model == "text-embedding-3-small"
        assert "quintet-mini" in [model.id for model in client.models.list()]
        with pytest.raises(openai.NotFoundError) as caught:
            client.embeddings.create(model="nope", **asked)
        assert caught.value.code == "model_not_found"

    async def ask() -> openai.types.CreateEmbeddingResponse:
        # The deployment is in the path and the model in the body: the deployment decides.
        async with openai.AsyncAzureOpenAI(**options, azure_deployment="quintet-mini") as client:
            raw = await client.embeddings.with_raw_response.create(model="ada", **asked)
            assert raw.headers["x-ignored-fields"] == "model"
            return raw.parse()

    answer = asyncio.run(ask())
    np.testing.assert_allclose([each.embedding for each in answer.data], expected, atol=2e-3)
    assert answer.model == "quintet-mini"


def test_a_deployment_needs_no_model_in_the_body(service: Service) -> None:
    path = "/openai/deployments/quintet-mini/embeddings?api-version=2024-10-21"
    answer = service.post(path, input="x")
    assert answer.json()["model"] == "quintet-mini"
    assert "x-ignored-fields" not in answer.headers
    refused = service.post(path.replace("quintet-mini", "some/model"), input="x")
    assert_error(refused, 404, "INPUT_MODEL_NOT_FOUND", "'some/model' is not served here")
