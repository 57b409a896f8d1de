"""POST /v1beta/models/NAME:embedContent and :batchEmbedContents: Google's contract."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.access.keyfile import add_key
from tests.app.answers import SKINCARE, cosines, vectors
from tests.server import Service, bearer, running

TASKS = {
    "RETRIEVAL_QUERY": "retrieval.query",
    "RETRIEVAL_DOCUMENT": "retrieval.passage",
    "SEMANTIC_SIMILARITY": "text-matching",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "separation",
    "TASK_TYPE_UNSPECIFIED": "text-matching",
}
ONE = "/v1beta/models/quintet-mini:embedContent"
BATCH = "/v1beta/models/quintet-mini:batchEmbedContents"


def content(text: str) -> dict[str, Any]:
    return {"parts": [{"text": text}], "role": "user"}


@pytest.mark.parametrize(("task_type", "task"), TASKS.items())
def test_a_task_type_is_a_task(service: Service, task_type: str, task: str) -> None:
    asked = {"taskType": task_type, "outputDimensionality": 64, "model": "models/quintet-mini"}
    requests = [{**asked, "content": content(text)} for text in SKINCARE]
    answer = service.post(BATCH, requests=requests)
    assert answer.status_code == 200, answer.text
    found = np.array([each["values"] for each in answer.json()["embeddings"]])
    expected = vectors(service.embed(input=SKINCARE, task=task, dimensions=64))
    assert cosines(found, expected).min() > 0.9999
    one = service.post(ONE, **requests[0]).json()
    assert list(one) == ["embedding"]
    assert cosines(np.array([one["embedding"]["values"]]), expected[:1]).min() > 0.9999


def test_names_may_be_those_of_protocol_buffers(service: Service) -> None:
    answer = service.post(
        ONE, content=content("x"), task_type="CLUSTERING", output_dimensionality=8
    )
    assert len(answer.json()["embedding"]["values"]) == 8
    assert "x-ignored-fields" not in answer.headers


def test_a_text_that_is_too_long_is_refused(engine: Service) -> None:
    name = httpx.get(f"{engine.url}/v1/models").json()["data"][0]["id"]
    path = f"/v1beta/models/{name}:embedContent"
    refused = engine.post(path, content=content("b " * 8193))
    assert refused.status_code == 400
    said = "content[0] has 8193 tokens; this model reads at most 8192 (send it in parts)."
    assert refused.json()["error"]["message"] == said


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"taskType": "QUESTION_ANSWERING"}, 400, "requests.0.taskType: must be 'RETRIE"),
        ({"taskTyp": "CLUSTERING"}, 400, "unknown field; did you mean taskType?"),
        ({"title": "A title"}, 400, "title is not read here; put it in front of the text"),
        ({"outputDimensionality": 1000}, 400, "requests.0.outputDimensionality is 1000; this mod"),
        ({"model": "models/other"}, 400, "requests[0].model is not the model of the address"),
        ({"content": None}, 400, "content: field required"),
        ({"content": 3}, 400, "content: must be a JSON object."),
        ({"content": {"parts": []}}, 400, "parts has 0 parts"),
        ({"content": {"parts": [{"text": "a"}, {"text": "b"}]}}, 400, "parts has 2 parts; send"),
        ({"content": {"parts": [{"inlineData": {}}]}}, 400, "text: field required"),
        ({"content": {"parts": [{}] * 100_000}}, 400, "parts has 100000 parts; send one"),
        ({"outputDimensionality": 8, "output_dimensionality": 9}, 400, "must not differ"),
        ({"taskType": "CLUSTERING", "task_type": "CLASSIFICATION"}, 400, "must not differ"),
    ],
)
def test_errors_have_googles_form(
    service: Service, body: dict[str, Any], status: int, said: str
) -> None:
    answer = service.post(BATCH, requests=[{"content": content("x"), **body}])
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"}
    assert (error["code"], error["status"]) == (status, "INVALID_ARGUMENT")
    assert said in error["message"]


def test_requests_of_a_batch_ask_for_the_same(service: Service) -> None:
    other = [{"content": content("x")}, {"content": content("x"), "taskType": "CLUSTERING"}]
    refused = service.post(BATCH, requests=other)
    assert refused.status_code == 400
    said = "requests[1].taskType is not that of the first request."
    assert refused.json()["error"]["message"] == said
    many = service.post(BATCH, requests=[{}] * 300_000).json()["error"]["message"]
    assert many == "requests has 300000 items; this route reads at most 4096 (send it in parts)."
    wrong = service.post(BATCH, requests=[{}] * 4096).json()["error"]["message"]
    assert wrong == "requests.0.content: field required.", "one error, not 4096"
    empty = service.post(BATCH, requests=[])
    assert (empty.status_code, empty.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_a_key_may_stand_in_the_address_and_never_in_the_log(tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "team")
    other = add_key(tmp_path / "keys", "other")
    body = {"content": content("x")}
    with running(keys_file=tmp_path / "keys") as service:
        assert service.post(f"{ONE}?alt=json&key={key}", **body).status_code == 200
        assert service.post(f"{BATCH}?key={key}", requests=[body]).status_code == 200
        for wrong in ("", "?key=", "?key=nonsense", "?key=%ff%00", f"?Key={key}"):
            refused = service.post(ONE + wrong, **body)
            error = refused.json()["error"]
            assert (refused.status_code, error["status"]) == (401, "UNAUTHENTICATED"), wrong
        both = httpx.post(f"{service.url}{ONE}?key={key}", json=body, headers=bearer(other))
        assert both.status_code == 200
        assert service.metric('key_requests_total{key="other"}') == 1
        assert service.embed(input="x").status_code == 401
        asked = httpx.post(f"{service.url}/v1/embeddings?key={key}", json={"input": "x"})
        assert asked.status_code == 401
        assert key not in service.log.text()
        assert "?" not in service.log.text()


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/other:embedContent",
        "/v1beta/models/quintet-mini:generateContent",
        "/v1beta/models/quintet-mini%0A:embedContent",
    ],
)
def test_what_is_not_there_is_not_found(service: Service, path: str) -> None:
    answer = service.post(path, content=content("x"))
    assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND")
