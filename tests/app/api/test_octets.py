"""Raw bytes in place of JSON: the same numbers, and where they are not given."""

import httpx
import numpy as np
import pytest

from app.api.octets import OCTETS, wanted
from tests.server import Service

TEXTS = ["Guten Morgen!", "Good morning!", ""]


def octets(service: Service, path: str = "/v1/embeddings", **body: object) -> httpx.Response:
    return httpx.post(service.url + path, json=body, headers={"accept": OCTETS}, timeout=60)


@pytest.mark.parametrize(
    ("accept", "raw"),
    [
        ("application/octet-stream", True),
        ("Application/Octet-Stream", True),
        ("application/octet-stream, */*", True),
        ("application/json;q=0.5, application/octet-stream", True),
        ("application/octet-stream; q=0.9 , application/json; q=0.1", True),
        ("application/json, application/octet-stream", False),
        ("application/octet-stream;q=0.5, application/json", False),
        ("application/octet-stream;q=0", False),
        ("application/octet-stream;q=no number", True),
        ("application/octet-stream-x", False),
        ("application/json", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_raw_bytes_are_for_those_who_prefer_them_to_json(accept: str, raw: bool) -> None:
    assert wanted(accept) == raw


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"dimensions": 48},
        {"normalized": False},
        {"encoding_format": "base64"},
        {"late_chunking": True},
    ],
)
def test_the_bytes_are_the_numbers_of_the_json_answer(
    service: Service, asked: dict[str, object]
) -> None:
    raw = octets(service, input=TEXTS, **asked)
    assert (raw.status_code, raw.headers["content-type"]) == (200, OCTETS)
    rows, width = map(int, raw.headers["x-embedding-shape"].split(","))
    found = np.frombuffer(raw.content, "<f4").reshape(rows, width)
    answer = service.embed(input=TEXTS, **{**asked, "encoding_format": "float"}).json()
    expected = np.array([each["embedding"] for each in answer["data"]], np.float32)
    np.testing.assert_array_equal(found, expected)  # the second one is cached
    assert int(raw.headers["x-total-tokens"]) == answer["usage"]["total_tokens"]


def test_azures_address_gives_them_too_and_other_headers_stay(service: Service) -> None:
    path = "/openai/deployments/text-embedding-3-small/embeddings"
    raw = octets(service, path, input="x", model="quintet-mini")
    assert raw.headers["x-embedding-shape"] == "1, 384"
    assert raw.headers["x-ignored-fields"] == "model"
    assert raw.headers["x-request-id"]


@pytest.mark.parametrize("name", ["embedding_type", "encoding_format"])
def test_other_numbers_than_float32_are_refused(service: Service, name: str) -> None:
    refused = octets(service, input="x", **{name: ["float", "ubinary"]})
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/json"
    assert refused.json()["detail"] == (
        f"{name} asks for ubinary; with Accept: application/octet-stream the answer is of float32 "
        "alone. Leave out one of them."
    )
    assert octets(service, input="x", dimensions=0).status_code == 422
