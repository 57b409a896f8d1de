"""POST /api/embed, /api/embeddings and /api/show, GET /api/tags and /api/version: Ollama's."""

from datetime import datetime
from typing import Any

import httpx
import numpy as np
import pytest

from app import __version__
from tests.app.answers import SKINCARE, cosines, vectors
from tests.server import Service

MODEL = "quintet-mini"


@pytest.mark.parametrize("model", [MODEL, f"{MODEL}:latest"])
def test_texts_are_read_with_the_default_task(service: Service, model: str) -> None:
    answer = service.post("/api/embed", model=model, input=SKINCARE, dimensions=64)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    expected = service.embed(input=SKINCARE, dimensions=64)
    assert cosines(np.array(body["embeddings"]), vectors(expected)).min() > 0.9999
    assert body["model"] == model
    assert body["prompt_eval_count"] == expected.json()["usage"]["total_tokens"]
    assert body["total_duration"] > 0


def test_options_may_have_a_task(service: Service) -> None:
    options = {"task": "retrieval.query", "num_ctx": 512, "seed": None}
    expected = vectors(service.embed(input="x y", task="retrieval.query"))
    answer = service.post("/api/embed", model=MODEL, input="x y", options=options)
    assert cosines(np.array(answer.json()["embeddings"]), expected).min() > 0.9999
    assert answer.headers["x-ignored-fields"] == "options.num_ctx"
    older = service.post("/api/embeddings", model=MODEL, prompt="x y", options=options).json()
    assert list(older) == ["embedding"]
    assert cosines(np.array([older["embedding"]]), expected).min() > 0.9999


@pytest.mark.parametrize("body", [{}, {"input": ""}, {"input": []}])
def test_without_a_text_there_is_no_vector(service: Service, body: dict[str, Any]) -> None:
    """So clients load a model."""
    assert service.post("/api/embed", model=MODEL, **body).json()["embeddings"] == []
    assert service.post("/api/embeddings", model=MODEL).json() == {"embedding": []}
    assert service.post("/api/embed", model="other", **body).status_code == 404
    space = service.post("/api/embed", model=MODEL, **body).headers["x-embedding-space"]
    assert space == service.embed(input="x").headers["x-embedding-space"]


def test_texts_are_cut_unless_it_is_refused(engine: Service) -> None:
    model = httpx.get(f"{engine.url}/v1/models").json()["data"][0]["id"]
    asked = {"model": model, "input": ["a", "b " * 8193]}
    assert engine.post("/api/embed", **asked).headers["x-truncated-inputs"] == "1"
    refused = engine.post("/api/embed", **asked, truncate=False)
    assert refused.status_code == 400
    said = "input length exceeds maximum context length: input[1] has 8193 tokens"
    assert refused.json()["error"].startswith(said)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"model": None}, 400, "model: field required"),
        ({"model": "other"}, 404, "the model 'other' is not served here"),
        ({"input": [1, 2]}, 400, "input holds token ids"),
        ({"input": 0}, 400, "input must be a text"),
        ({"input": False}, 400, "input must be a text"),
        ({"input": {}}, 400, "input must be a text"),
        ({"options": {"task": "nope"}}, 400, "unknown task 'nope'"),
        ({"options": {"task": 1}}, 400, "options.task must be a text"),
        ({"options": {"taks": "separation"}}, 400, "taks: unknown field; did you mean task?"),
        ({"task": "separation"}, 400, "task is no field of this API"),
        ({"dimensions": 1000}, 400, "dimensions is 1000; this model takes 1 to 384"),
    ],
)
def test_errors_have_ollamas_form(
    service: Service, body: dict[str, Any], status: int, said: str
) -> None:
    answer = service.post("/api/embed", **{"model": MODEL, "input": "x", **body})
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


def test_what_is_not_there_is_ollamas_error_too(service: Service) -> None:
    answer = service.post("/api/generate", model=MODEL, prompt="x")
    assert answer.status_code == 404
    assert "there is no /api/generate" in answer.json()["error"]


def test_models_are_listed_and_shown(service: Service) -> None:
    models = httpx.get(f"{service.url}/api/tags").json()["models"]
    assert [each["model"] for each in models] == [
        "jina-embeddings-v3:latest",
        "text-embedding-3-small:latest",
        "quintet-mini:latest",
    ]
    for each in models:
        assert datetime.fromisoformat(each["modified_at"]).tzinfo
        assert len(each["digest"]) == 64
    assert len({each["digest"] for each in models}) == 1, "they are names of one model"
    shown = service.post("/api/show", model=models[2]["name"]).json()
    assert shown["capabilities"] == ["embedding"]
    assert shown["model_info"]["xlm-roberta.context_length"] == 8192
    assert shown["model_info"]["xlm-roberta.embedding_length"] == 384
    assert service.post("/api/show", model="other").status_code == 404
    assert httpx.get(f"{service.url}/api/version").json() == {"version": __version__}
