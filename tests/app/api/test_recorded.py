"""What real clients really send, recorded and written down compactly, is answered as they need it.

Clients that install without conflict also run for real: tests/clients.
"""

import base64
import concurrent.futures
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.app.answers import SKINCARE, assert_error, cosines, vectors
from tests.app.engine.test_promises import LONGER_BULK
from tests.server import Service

TEXTS = SKINCARE[:4]
NAME = {"model": "jina-embeddings-v3"}

# Client and version -> the fields it was seen to send beside model and input.
RECORDED: dict[str, list[dict[str, Any]]] = {
    "openai-python 2.54, 3.54": [
        {"encoding_format": "base64"},
        {"encoding_format": "float"},
        {"encoding_format": "base64", "dimensions": 256},
        {"encoding_format": "base64", "task": "retrieval.query"},
        {"encoding_format": "base64", "task": "retrieval.passage", "late_chunking": True},
        {"encoding_format": "base64", "user": "someone"},
    ],
    "llama-index-embeddings-jinaai 0.7.0": [
        {"encoding_type": "float", "task": "retrieval.passage"},
        {
            "encoding_type": "float",
            "task": "retrieval.passage",
            "dimensions": 256,
            "late_chunking": False,
        },
        {"encoding_type": "float", "task": "retrieval.passage", "late_chunking": True},
    ],
    "pymilvus-model 0.3.4": [
        {"task": "retrieval.passage", "late_chunking": False},
        {"task": "text-matching", "late_chunking": False},
        {"task": "retrieval.passage", "late_chunking": True, "dimensions": 256},
        {"task": None, "late_chunking": False},
    ],
    "jina-haystack 2.0.1": [{"task": "retrieval.passage"}, {"task": "retrieval.query"}],
    "chromadb 1.5.9": [
        {
            "task": "retrieval.passage",
            "late_chunking": True,
            "truncate": True,
            "dimensions": 256,
            "embedding_type": "float",
            "normalized": True,
        },
        {"task": "retrieval.passage", "normalized": False},
    ],
    "litellm 1.106.2": [{}, {"dimensions": 256}],
    "@langchain/community 1.1.29": [
        {"task": "retrieval.passage", "dimensions": 256, "normalized": True},
        {"task": "retrieval.query", "dimensions": 256, "normalized": True},
    ],
    "langchain-community 0.4.2": [{}],
}
CASES = [pytest.param(fields, id=name) for name, each in RECORDED.items() for fields in each]


@pytest.mark.parametrize("inputs", [TEXTS, TEXTS[:1], TEXTS[0]])
@pytest.mark.parametrize("fields", CASES)
def test_recorded_requests_are_answered(
    service: Service, fields: dict[str, Any], inputs: Any
) -> None:
    answer = service.embed(input=inputs, **NAME, **fields)
    body = answer.json()
    assert list(body) == ["model", "object", "usage", "data"]
    assert (body["object"], body["model"]) == ("list", "jina-embeddings-v3")
    assert isinstance(body["usage"]["prompt_tokens"], int)
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"]
    assert "detail" not in body
    for index, each in enumerate(body["data"]):
        assert (each["object"], each["index"]) == ("embedding", index)
        if "base64" in fields.values():
            each["embedding"] = np.frombuffer(base64.b64decode(each["embedding"]), "<f4")
    found = np.array([each["embedding"] for each in body["data"]])
    plain = {name: value for name, value in fields.items() if not name.startswith("encoding")}
    assert cosines(found, vectors(service.embed(input=inputs, **plain))).min() > 0.9995


def test_the_bits_that_llama_index_unpacks(service: Service) -> None:
    fields = {"task": "retrieval.passage"}
    signs = (vectors(service.embed(input=TEXTS, **fields)) > 0).astype(int)
    unsigned = service.embed(input=TEXTS, encoding_type="ubinary", **fields).json()["data"]
    signed = service.embed(input=TEXTS, encoding_type="binary", **fields).json()["data"]
    for row, one, other in zip(signs, unsigned, signed, strict=True):
        assert (np.unpackbits(np.array(one["embedding"], np.uint8)) == row).mean() > 0.97
        offset = (np.array(other["embedding"]) + 128).astype(np.uint8)
        np.testing.assert_array_equal(offset, np.array(one["embedding"], np.uint8))


def test_pymilvus_finds_the_width_with_an_empty_text(service: Service) -> None:
    answer = service.embed(input=[""], task=None, late_chunking=False, **NAME)
    assert vectors(answer).shape == (1, 384)


def test_langchain_openais_token_ids_are_refused_with_the_switch_that_helps(
    service: Service,
) -> None:
    answer = service.embed(input=[[9906, 1917], [264, 1296]], encoding_format="base64", **NAME)
    said = "check_embedding_ctx_length=False"
    assert_error(answer, 400, "INPUT_TOKEN_IDS_UNSUPPORTED", said)


@pytest.mark.parametrize("dimensions", [0, 1025, 99999])
def test_dimensions_out_of_range_are_refused_as_text_that_every_client_shows(
    service: Service, dimensions: int
) -> None:
    answer = service.embed(input=TEXTS, dimensions=dimensions, normalized=True, **NAME)
    assert_error(answer, 422, "VALIDATION_ERROR", "dimensions")


def test_the_openai_sdk_retries_when_it_is_told_and_gets_through(engine: Service) -> None:
    """The queue is full at first: the SDK obeys Retry-After, and its user sees an answer."""
    seen: list[int] = []
    with engine.suspended() as worker, concurrent.futures.ThreadPoolExecutor() as pool:

        def note(answer: httpx.Response) -> None:
            seen.append(answer.status_code)
            worker.resume()

        http = openai.DefaultHttpxClient(event_hooks={"response": [note]})
        options = {"base_url": f"{engine.url}/v1", "max_retries": 9, "http_client": http}
        with openai.OpenAI(**options, api_key="none") as sdk:
            occupied = pool.submit(engine.embed, **LONGER_BULK)
            engine.wait_for_queue()
            answer = sdk.embeddings.create(model="original", input=["word " * 500] * 37)
            assert occupied.result().status_code == 200
    assert len(answer.data) == 37
    assert seen[0] == 503
    assert seen[-1] == 200
