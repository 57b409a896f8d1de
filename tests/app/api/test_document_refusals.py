"""POST /v1/documents: what is refused, and under which name."""

from typing import Any

import httpx
import pytest

from tests.app.answers import assert_error
from tests.server import Service


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"chunking": {"max_token": 3}}, "chunking.max_token", "did you mean max_tokens?"),
        ({"chunking": {"chunk_size": 3}}, "chunking.chunk_size", "did you mean max_tokens?"),
        ({"max_tokens": 3}, "max_tokens", "send chunking.max_tokens"),
        ({"by": "tokens"}, "by", "send chunking.by"),
        ({"chunk_overlap": 3}, "chunk_overlap", "send chunking.overlap"),
        ({"chunks": {}}, "chunks", "did you mean chunking?"),
        ({"offset": "utf16"}, "offset", "did you mean offsets?"),
        ({"lateChunking": False}, "lateChunking", "did you mean late_chunking?"),
        ({"offsets": "utf8"}, "offsets", "'codepoints', 'utf16' or 'bytes'"),
        ({"chunking": "tokens"}, "chunking", 'must be an object, such as {"by": "tokens"}'),
        ({"chunking": {"by": "words"}}, "chunking.by", "'sentences', 'tokens', 'markdown'"),
        ({"chunking": {"max_tokens": True}}, "chunking.max_tokens", "not true or false"),
        ({"chunking": {"max_tokens": 0}}, "chunking.max_tokens", "this model takes 1 to 8192"),
        ({"chunking": {"overlap": 129}}, "chunking.overlap", "256 it may be 0 to 128"),
        ({"chunking": {"min_tokens": 300}}, "chunking.min_tokens", "256 it may be 0 to 256"),
        (
            {"chunking": {"by": "tokens", "min_tokens": 9}},
            "chunking.min_tokens",
            'min_tokens does not count where "by" is "tokens"',
        ),
        ({"chunking": {"by": "spans"}}, "chunking.spans", "need each other"),
        ({"chunking": {"spans": [[0, 1]]}}, "chunking.spans", "need each other"),
        ({"late_chunking_overlap": 5000}, "late_chunking_overlap", "takes 0 to 4096"),
        ({"dimensions": 385}, "dimensions", "takes 1 to 384"),
        ({"task": "nope"}, "task", "unknown task 'nope'"),
    ],
)
def test_what_would_be_misread_is_refused_under_the_name_that_was_sent(
    service: Service, body: dict[str, Any], param: str, said: str
) -> None:
    answer = service.post("/v1/documents", input="One. Two.", **body)
    assert_error(answer, 422, "VALIDATION_ERROR", said)
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("spans", "param", "said"),
    [
        ([[0, 1]], "chunking.spans.0.0", "1 is inside of a character of a text of 6 units"),
        ([[0, 2], [3, 7]], "chunking.spans.0.1", "7 is outside of a text of 6 units of UTF-16"),
        ([[2, 3]], "chunking.spans.0.0", "' ' has no token of its own"),
        ([[3, 3]], "chunking.spans.0.0", "does not end behind its start"),
        ([[4, 3]], "chunking.spans.0.0", "does not end behind its start"),
        ([[[0, 2]], [[0, 2]]], "chunking", "has spans of 2 documents, input has 1"),
        ([["0", 2]], "chunking.spans", "two whole numbers from 0 on, not"),
        ([[0, -1]], "chunking.spans", "two whole numbers from 0 on, not"),
        ([[0, 1, 2]], "chunking.spans", "two whole numbers from 0 on, not [0, 1, 2]"),
        (3, "chunking.spans", "not 3"),
    ],
)
def test_a_span_that_is_none_is_named(service: Service, spans: Any, param: str, said: str) -> None:
    body = {"chunking": {"by": "spans", "spans": spans}, "offsets": "utf16"}
    answer = service.post("/v1/documents", input="😀 abc", **body)
    assert_error(answer, 422, "VALIDATION_ERROR", said)
    assert answer.json()["error"]["param"] == param


def test_ids_and_unknown_names_are_looked_at(service: Service) -> None:
    refused = service.post("/v1/documents", input=["a", {"text": "b", "id": [1]}])
    assert_error(refused, 422, "VALIDATION_ERROR", "input[1].id must be a text or a whole number")
    answer = service.post(
        "/v1/documents", texts=[{"text": "a", "url": "x"}], seed=1, chunking={"foo": 1}
    )
    assert answer.headers["x-ignored-fields"] == "chunking.foo, seed, texts.url"


def test_of_many_unknown_names_some_are_compared_and_no_field_is_missed(service: Service) -> None:
    names = {f"a{number:03}": 1 for number in range(256)}
    answer = service.post("/v1/documents", input="a", **names, max_token=1)
    assert answer.status_code == 200
    assert answer.headers["x-ignored-fields"].endswith("and 237 more")
    refused = service.post("/v1/documents", input="a", **names, max_tokens=1)
    assert_error(refused, 422, "VALIDATION_ERROR", "send chunking.max_tokens")


def test_limits_are_said_with_their_numbers(service: Service) -> None:
    def refused(code: str, said: str, **body: Any) -> None:
        assert_error(service.post("/v1/documents", **body), 400, code, said)

    refused("INPUT_LIMIT_EXCEEDED", "has 2049 inputs; one request may", input=["a"] * 2049)
    refused(
        "INPUT_LIMIT_EXCEEDED",
        "the first 2 of input have 10000 chunks; one request may have at most 8192",
        input=["A. " * 5000] * 3,
        chunking={"min_tokens": 1},
    )
    refused(
        "INPUT_TOKEN_LIMIT_EXCEEDED",
        "input[1] has 131073 tokens; a document may have at most 131072",
        input=["a", "a " * 131_073],
    )
    refused(
        "INPUT_TOKEN_LIMIT_EXCEEDED",
        'chunk 0 of input[0] has 9000 tokens; read alone it may have at most 8192 (send "late',
        input="a " * 9000,
        late_chunking=False,
        chunking={"by": "spans", "spans": [[0, 18_000]]},
    )
    whole = {"by": "spans", "spans": [[0, 2050]] * 8192}
    refused(
        "INPUT_TOKEN_LIMIT_EXCEEDED",
        "chunks of the first 1 of input have 8396800 tokens together; one request may have at most "
        "8388608.",
        input="a " * 1025,
        chunking=whole,
    )
    refused(
        "INPUT_TOKEN_LIMIT_EXCEEDED",
        "have 8396800 tokens together; one request may have at most 1048576.",
        input="a " * 1025,
        chunking=whole,
        late_chunking=False,
    )
    assert httpx.get(f"{service.url}/info").json()["max_chunks"] == 8192
