"""POST /embed, / and /embed_all, and fields of GET /info: text-embeddings-inference's contract."""

from typing import Any

import httpx
import numpy as np
import pytest

from tests.app.answers import SKINCARE, cosines, vectors
from tests.server import Service


@pytest.mark.parametrize("path", ["/embed", "/"])
def test_the_answer_is_a_list_of_vectors(service: Service, path: str) -> None:
    answer = service.post(path, inputs=SKINCARE, prompt_name="retrieval.query", dimensions=64)
    assert answer.status_code == 200, answer.text
    expected = vectors(service.embed(input=SKINCARE, task="retrieval.query", dimensions=64))
    assert cosines(np.array(answer.json()), expected).min() > 0.9999
    raw = np.array(service.post(path, inputs="x", normalize=False).json())
    np.testing.assert_allclose(raw, vectors(service.embed(input="x", normalized=False)), atol=2e-2)


def test_tokens_have_vectors_whose_mean_is_that_of_the_text(precise_service: Service) -> None:
    asked = {"inputs": SKINCARE, "prompt_name": "retrieval.passage"}
    answer = precise_service.post("/embed_all", **asked)
    assert answer.status_code == 200, answer.text
    tokens = [np.array(each) for each in answer.json()]
    ids = precise_service.post("/tokenize", input=SKINCARE, task="retrieval.passage").json()
    assert [len(each) for each in tokens] == [len(each["token_ids"]) for each in ids["inputs"]]
    means = np.array([each.mean(axis=0) for each in tokens])
    pooled = np.array(precise_service.post("/embed", **asked, normalize=False).json())
    np.testing.assert_allclose(means, pooled, atol=1e-4)
    one = precise_service.post("/embed_all", inputs=SKINCARE[0], prompt_name="retrieval.passage")
    np.testing.assert_allclose(np.array(one.json()[0]), tokens[0], atol=1e-4)


@pytest.fixture(scope="module")
def precise_service() -> Any:
    from tests.server import running

    with running(dtype="float32") as service:
        yield service


def test_token_vectors_of_a_request_are_bounded(engine: Service) -> None:
    refused = engine.post("/embed_all", inputs=["b " * 8000, "b " * 200])
    assert refused.status_code == 413
    said = "inputs have 8204 tokens with special ones and the instruction's; one request may ask "
    assert refused.json()["error"].startswith(said)


def test_texts_are_refused_unless_they_may_be_cut(engine: Service) -> None:
    refused = engine.post("/embed", inputs=["a", "b " * 8193])
    assert refused.status_code == 413
    assert "inputs[1] has 8193 tokens; this model reads at most 8192" in refused.json()["error"]
    cut = engine.post("/embed", inputs=["a", "b " * 8193], truncate=True)
    assert cut.headers["x-truncated-inputs"] == "1"


@pytest.mark.parametrize(
    ("body", "status", "kind", "said"),
    [
        ({"inputs": []}, 400, "Empty", "inputs is an empty list"),
        ({"inputs": None}, 422, "Validation", "inputs: field required"),
        ({"inputs": [1, 2]}, 400, "Validation", "inputs holds token ids"),
        ({"inputs": ["x"] * 2049}, 413, "Validation", "inputs has 2049 inputs"),
        ({"prompt_name": "nope"}, 422, "Validation", "unknown task 'nope'"),
        ({"promptname": "separation"}, 422, "Validation", "did you mean prompt_name?"),
        (
            {"truncation_direction": "left"},
            422,
            "Validation",
            "truncation_direction: must be 'right' or",
        ),
        ({"dimensions": 1000}, 422, "Validation", "dimensions is 1000; this model takes 1 to 384"),
    ],
)
def test_errors_have_its_form(
    service: Service, body: dict[str, Any], status: int, kind: str, said: str
) -> None:
    for path in ("/embed", "/"):
        answer = service.post(path, **{"inputs": "x", **body})
        assert answer.status_code == status, answer.text
        assert set(answer.json()) == {"error", "error_type"}
        assert answer.json()["error_type"] == kind
        assert said in answer.json()["error"]


def test_a_full_queue_is_429_and_a_defect_424() -> None:
    from app import errors
    from app.dialects.tei import error_form

    full = errors.QueueFullError(1, 2, 3, 4)
    for error, status, kind in (
        (full, 429, "Overloaded"),
        (errors.TokensPerMinuteError(1, 2, 3), 429, "Overloaded"),
        (errors.NotReadyError("no worker is ready."), 503, "Unhealthy"),
        (errors.DeadlineError(1), 424, "Backend"),
        (errors.MissingKeyError(), 401, "Validation"),
    ):
        assert error_form(error, "id") == (status, {"error": str(error), "error_type": kind})


def test_info_has_its_fields_too(service: Service) -> None:
    info = httpx.get(f"{service.url}/info").json()
    assert (info["model_id"], info["model_sha"]) == (info["model"], info["revision"])
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}
    assert info["model_dtype"] == info["workers"][0]["dtype"]
    assert (info["max_input_length"], info["max_client_batch_size"]) == (8192, 2048)
    assert info["max_batch_tokens"] == info["workers"][0]["max_batch_tokens"]
    assert info["auto_truncate"] is False
