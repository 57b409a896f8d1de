"""What is refused, and how: one error body, a sentence that says what, how much and the limit."""

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.app.answers import assert_error
from tests.server import Service

# What is refused: (body, status, code, a part of the sentence).
REFUSED: list[tuple[Any, int, str, str]] = [
    ({}, 422, "VALIDATION_ERROR", "input: field required"),
    (
        {"input": "x", "dimensions": "many", "normalized": 3},
        *(422, "VALIDATION_ERROR"),
        "dimensions: must be a whole number, not 'many'. normalized: must be true or false, not 3.",
    ),
    (
        {"input": "x", "embedding_type": []},
        *(422, "VALIDATION_ERROR"),
        "embedding_type: must have 1 or more items, not [].",
    ),
    (
        {"input": "x", "service_tier": True},
        *(422, "VALIDATION_ERROR"),
        "service_tier: must be 'auto', 'default' or 'flex', not true.",
    ),
    ({"input": None}, 422, "VALIDATION_ERROR", "input: field required"),
    ({"input": []}, 422, "VALIDATION_ERROR", "input is an empty list"),
    ({"input": 5}, 422, "VALIDATION_ERROR", "input must be a text"),
    ({"input": ["a", 5]}, 422, "VALIDATION_ERROR", "input[1] must be a text"),
    ({"input": ["a", None]}, 422, "VALIDATION_ERROR", "not null"),
    ({"input": [{"image": "x"}]}, 422, "VALIDATION_ERROR", "not an object with image"),
    ({"input": {"text": None}}, 422, "VALIDATION_ERROR", "input.text must be a text, not null"),
    (
        {"input": [{"text": ["a"]}]},
        422,
        "VALIDATION_ERROR",
        "input[0].text must be a text, not a l",
    ),
    ({"input": [[]]}, 422, "VALIDATION_ERROR", "not a list"),
    ({"input": [True]}, 422, "VALIDATION_ERROR", "not true or false"),
    (
        {"input": ["a", {"text": "b", "task": "retrieval.query"}]},
        422,
        "VALIDATION_ERROR",
        "input[1] has a task of its own",
    ),
    ({"input": [1, 2]}, 400, "INPUT_TOKEN_IDS_UNSUPPORTED", "check_embedding_ctx_length=False"),
    ({"input": [[1], [2]]}, 400, "INPUT_TOKEN_IDS_UNSUPPORTED", "token ids"),
    ({"input": ["x"] * 2049}, 400, "INPUT_LIMIT_EXCEEDED", "has 2049 inputs"),
    ({"input": "b " * 8193}, 400, "INPUT_TOKEN_LIMIT_EXCEEDED", "input[0] has 8193 tokens"),
    (
        {"input": ["b " * 5000] * 2, "late_chunking": True},
        400,
        "INPUT_TOKEN_LIMIT_EXCEEDED",
        "these 2 inputs have 10000",
    ),
    ({"input": "x", "task": "retrieval"}, 422, "VALIDATION_ERROR", "unknown task 'retrieval'"),
    ({"input": "x", "task": ""}, 422, "VALIDATION_ERROR", "unknown task ''"),
    ({"input": "x", "task": 1}, 422, "VALIDATION_ERROR", "task: must be a text, not 1."),
    (
        {"input": "x", "task": "separation", "task_type": "classification"},
        422,
        "VALIDATION_ERROR",
        "task and task_type are names of one field",
    ),
    (
        {"input": "x", "dimensions": 0},
        422,
        "VALIDATION_ERROR",
        "dimensions is 0; this model takes 1 to 384",
    ),
    ({"input": "x", "dimensions": 10**24}, 422, "VALIDATION_ERROR", "dimensions is 1000000000000"),
    ({"input": "x", "dimensions": -1}, 422, "VALIDATION_ERROR", "dimensions is -1; this model"),
    ({"input": "x", "dimensions": 385}, 422, "VALIDATION_ERROR", "dimensions is 385; this model"),
    ({"input": "x", "dimensions": 1.5}, 422, "VALIDATION_ERROR", "dimensions: "),
    ({"input": "x", "dimensions": True}, 422, "VALIDATION_ERROR", "dimensions: "),
    ({"input": "x", "late_chunking": "maybe"}, 422, "VALIDATION_ERROR", "late_chunking: "),
    ({"input": "x", "embedding_type": "int4"}, 422, "VALIDATION_ERROR", "'float', 'base64'"),
    (
        {"input": "x", "embedding_type": "float", "encoding_format": "int4"},
        422,
        "VALIDATION_ERROR",
        "encoding_format must be of float, base64, binary, ubinary",
    ),
    ({"input": "x", "embedding_type": []}, 422, "VALIDATION_ERROR", "embedding_type: "),
    ({"input": "x", "model": "gpt-4"}, 404, "INPUT_MODEL_NOT_FOUND", "'gpt-4' is not served"),
    ([], 422, "VALIDATION_ERROR", "must be a JSON object"),
    ("text", 422, "VALIDATION_ERROR", "must be a JSON object"),
    (b"", 400, "INPUT_INVALID_JSON", "not valid JSON"),
    (b"{", 400, "INPUT_INVALID_JSON", "not valid JSON"),
    (b'{"input": "x", "dimensions": NaN}', 422, "VALIDATION_ERROR", "dimensions: "),
    (b"[" * 100_000, 400, "INPUT_INVALID_JSON", "not valid JSON"),
    (b"\xff\xfe", 400, "INPUT_INVALID_JSON", "is not UTF-8: byte 0, counted from 0, is 0xff"),
]


@pytest.mark.parametrize(("body", "status", "code", "said"), REFUSED)
def test_what_is_refused_has_the_one_error_body_and_never_reaches_the_queue(
    service: Service, body: Any, status: int, code: str, said: str
) -> None:
    before = service.metric("batch_tokens_count")
    content = body if isinstance(body, bytes) else json.dumps(body)
    response = httpx.post(f"{service.url}/v1/embeddings", content=content, timeout=60)
    assert service.metric("batch_tokens_count") == before
    assert_error(response, status, code, said)


def test_a_body_over_the_limit_is_refused_by_its_header_and_while_it_is_read(
    service: Service,
) -> None:
    big = b'{"input": "' + b"x" * 33_554_432 + b'"}'
    url = f"{service.url}/v1/embeddings"
    said = f"has {len(big)} bytes; at most 33554432"
    assert_error(httpx.post(url, content=big, timeout=60), 413, "INPUT_BODY_TOO_LARGE", said)
    parts = (big[start : start + 65536] for start in range(0, len(big), 65536))
    response = httpx.post(url, content=parts, timeout=60)
    assert_error(response, 413, "INPUT_BODY_TOO_LARGE", "goes on past 33554432 bytes")


LONG = "secret " * 20_000


@pytest.mark.parametrize(
    "body",
    [
        {"input": "x", "task": LONG},
        {"input": "x", "task": "\x80" * 100_000},
        {"input": "x", "model": LONG},
        {"input": dict.fromkeys(map(str, range(50_000)), 1)},
        {"input": "x", "dimensions": [LONG] * 10},
        {"input": "x", "embedding_type": [""] * 300_000},
        {"input": "x", "embedding_type": "float", "encoding_format": [""] * 300_000},
    ],
)
def test_an_error_does_not_echo_a_document(service: Service, body: dict[str, Any]) -> None:
    answer = service.embed(**body)
    assert answer.status_code in (404, 422)
    assert len(answer.content) < 3_000


def test_a_body_of_too_many_small_parts_is_refused_before_it_is_parsed(service: Service) -> None:
    url, said = f"{service.url}/v1/embeddings", "more than 1000000 texts, brackets and commas"
    for part in (b"[],", b'"a",', b"{},", b"1,"):
        body = b'{"input": "x", "other": [' + part * 1_000_001 + b"0]}"
        assert_error(httpx.post(url, content=body, timeout=60), 413, "INPUT_BODY_TOO_LARGE", said)
    rows = httpx.post(
        f"{service.url}/invocations",
        content=b"a,b\n" * 600_000,
        headers={"content-type": "text/csv"},
        timeout=60,
    )
    assert_error(rows, 413, "INPUT_BODY_TOO_LARGE", said)


@pytest.mark.parametrize("text", [", [" * 600_000, '\\"' * 600_000, "\n," * 600_000])
def test_what_a_text_holds_is_no_part(service: Service, text: str) -> None:
    assert_error(service.embed(input=text), 400, "INPUT_TOKEN_LIMIT_EXCEEDED", "input[0] has ")


def test_a_compressed_body_is_refused_by_its_header(service: Service) -> None:
    url = f"{service.url}/v1/embeddings"
    answer = httpx.post(url, content=gzip.compress(b"{}"), headers={"content-encoding": "gzip"})
    assert_error(answer, 415, "INPUT_ENCODING_UNSUPPORTED", "content-encoding 'gzip' is not read")
    plain = {"content-encoding": "identity", "content-type": "application/json"}
    assert httpx.post(url, content=b'{"input": "x"}', headers=plain).status_code == 200
