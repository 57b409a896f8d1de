"""POST /v2/embed and /v1/embed: Cohere's contract."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from tests.app.answers import SKINCARE, cosines, vectors
from tests.server import Service

TASKS = {
    "search_query": "retrieval.query",
    "search_document": "retrieval.passage",
    "classification": "classification",
    "clustering": "separation",
}
ASKED = {"model": "quintet-mini", "input_type": "search_document"}


def found(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["embeddings"]["float"], np.float32)


@pytest.mark.parametrize(("input_type", "task"), TASKS.items())
def test_an_input_type_is_a_task(service: Service, input_type: str, task: str) -> None:
    asked = {**ASKED, "texts": SKINCARE, "input_type": input_type, "output_dimension": 64}
    answer = service.post("/v2/embed", **asked)
    expected = service.embed(input=SKINCARE, task=task, dimensions=64)
    assert cosines(found(answer), vectors(expected)).min() > 0.9999
    body = answer.json()
    assert set(body) == {"id", "response_type", "embeddings", "texts", "meta"}
    assert body["response_type"] == "embeddings_by_type"
    assert body["texts"] == SKINCARE
    tokens = expected.json()["usage"]["total_tokens"]
    assert body["meta"]["billed_units"] == {"input_tokens": tokens}
    assert body["meta"]["api_version"] == {"version": "2"}


def test_vectors_stand_by_type(service: Service) -> None:
    types = ["float", "base64", "binary", "ubinary"]
    by_type = service.post("/v2/embed", **ASKED, texts=SKINCARE, embedding_types=types).json()
    embeddings = by_type["embeddings"]
    assert list(embeddings) == types
    floats = np.array(embeddings["float"], np.float32)
    raw = [np.frombuffer(base64.b64decode(each), "<f4") for each in embeddings["base64"]]
    np.testing.assert_array_equal(np.array(raw), floats)
    bits = np.packbits(floats > 0, axis=1)
    np.testing.assert_array_equal(embeddings["ubinary"], bits)
    np.testing.assert_array_equal(embeddings["binary"], bits.astype(int) - 128)
    one = service.post("/v2/embed", **ASKED, texts=SKINCARE, embedding_types=["binary"]).json()
    assert list(one["embeddings"]) == ["binary"]


def test_version_1_answers_a_list_unless_types_are_asked_for(service: Service) -> None:
    answer = service.post("/v1/embed", texts=SKINCARE[:2], input_type="search_query").json()
    assert answer["response_type"] == "embeddings_floats"
    expected = vectors(service.embed(input=SKINCARE[:2], task="retrieval.query"))
    assert cosines(np.array(answer["embeddings"]), expected).min() > 0.9999
    by_type = service.post("/v1/embed", texts=["x"], embedding_types=["float"]).json()
    assert by_type["response_type"] == "embeddings_by_type"
    default = vectors(service.embed(input="x"))
    assert cosines(np.array(by_type["embeddings"]["float"]), default).min() > 0.9999


def test_whole_numbers_times_their_scales_are_the_vectors(service: Service) -> None:
    for types in (["int8"], ["float", "int8"]):
        answer = service.post("/v2/embed", **ASKED, texts=SKINCARE, embedding_types=types).json()
        whole, scales = np.array(answer["embeddings"]["int8"]), np.array(answer["meta"]["scales"])
        assert np.abs(whole).max(axis=1).tolist() == [127] * len(SKINCARE)
    floats = np.array(answer["embeddings"]["float"])
    np.testing.assert_allclose(whole * scales[:, None], floats, atol=scales.max() / 2 + 1e-6)
    assert "scales" not in service.post("/v2/embed", **ASKED, texts=SKINCARE).json()["meta"]


def test_inputs_may_be_contents_of_one_text(service: Service) -> None:
    inputs = [{"content": [{"type": "text", "text": text}]} for text in SKINCARE]
    contents = found(service.post("/v2/embed", **ASKED, inputs=inputs))
    texts = found(service.post("/v2/embed", **ASKED, texts=SKINCARE))
    assert cosines(contents, texts).min() > 0.9999


def test_texts_are_cut_unless_it_is_refused(engine: Service) -> None:
    name = httpx.get(f"{engine.url}/v1/models").json()["data"][0]["id"]
    asked = {"texts": ["a", "b " * 8193], "model": name, "input_type": "clustering"}
    for more in ({}, {"truncate": "END"}, {"truncate": None}):
        answer = engine.post("/v2/embed", **asked, **more)
        assert answer.headers["x-truncated-inputs"] == "1", more
    refused = engine.post("/v2/embed", **asked, truncate="NONE")
    assert refused.status_code == 400
    said = 'texts[1] has 8193 tokens; this model reads at most 8192 (send "truncate": "END"'
    assert refused.json()["message"].startswith(said)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"input_type": "image"}, 400, "input_type: must be 'search_query', 'search"),
        ({"input_type": None}, 400, "input_type: field required"),
        ({"model": None}, 400, "model: field required"),
        ({"model": "embed-v4.0"}, 404, "the model 'embed-v4.0' is not served here"),
        ({"texts": None}, 400, "texts: field required"),
        ({"texts": []}, 400, "texts is an empty list"),
        ({"texts": [1, 2]}, 400, "texts holds token ids"),
        ({"truncate": "START"}, 400, "truncate: must be 'END' or 'NONE', not 'START'"),
        ({"embedding_types": ["uint8"]}, 400, "embedding_types.0: must be 'float', 'ba"),
        ({"embedding_types": []}, 400, "embedding_types: "),
        ({"embedding_types": ["x"] * 100_000}, 400, "embedding_types has 100000 items; this route"),
        ({"texts": None, "inputs": [{}] * 100_000}, 400, "inputs has 100000 items; this route"),
        ({"output_dimension": 1000}, 400, "output_dimension is 1000; this model takes 1 to 384"),
        ({"max_tokens": 5}, 400, "max_tokens is not read here"),
        ({"images": ["data:image/png;base64,eA=="]}, 400, "images are not read here"),
        ({"inputs": [{"content": [{"type": "text", "text": "x"}]}]}, 400, "texts and inputs"),
        ({"inputtype": "clustering"}, 400, "inputtype: unknown field; did you mean input_type?"),
        ({"texts": ["x"] * 2049}, 400, "texts has 2049 inputs; one request may have at most 2048"),
    ],
)
def test_errors_have_coheres_form(
    service: Service, body: dict[str, Any], status: int, said: str
) -> None:
    answer = service.post("/v2/embed", **{"texts": ["x"], **ASKED, **body})
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"message", "id"}
    assert said in answer.json()["message"]
    assert answer.json()["id"] == answer.headers["x-request-id"]


def test_what_means_nothing_is_named(service: Service) -> None:
    answer = service.post("/v2/embed", **ASKED, texts=["x"], priority=1)
    assert answer.headers["x-ignored-fields"] == "priority"
