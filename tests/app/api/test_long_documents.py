"""POST /v1/embeddings with documents that the model reads in windows."""

import socket
from pathlib import Path
from typing import Any

import pytest

from model import embedder
from model.tokenizer import RowOptions
from tests.app.answers import SKINCARE, assert_error, cosines, vectors
from tests.server import Service, running


def test_a_document_over_the_limit_is_embedded_in_windows_when_asked(
    engine: Service, original: Path
) -> None:
    loaded = embedder.load(original, "cpu")
    inputs = [f"{word} " * 2100 for word in ("alpha", "beta", "gamma", "delta", "omega")]
    body = {"input": inputs, "late_chunking": True, "task": "retrieval.passage"}
    tokens = sum(each["tokens"] for each in engine.post("/tokenize", input=inputs).json()["inputs"])
    assert tokens > 8192
    said = (
        f"these 5 inputs have {tokens} "
        '(send "truncate": true to cut at the limit, or "late_chunking_overlap" for windows).'
    )
    assert_error(engine.embed(**body), 400, "INPUT_TOKEN_LIMIT_EXCEEDED", said)
    answer = engine.embed(**body, late_chunking_overlap=512)
    assert answer.json()["usage"]["total_tokens"] == tokens + 2
    reading = RowOptions(late_chunking=True, overlap=512, max_document_tokens=131072)
    tokenized = loaded.tokenizer.rows(inputs, loaded.tasks.by_name("retrieval.passage"), reading)
    assert len(tokenized.rows) > 1
    expected = tokenized.vectors(loaded.embed(tokenized.rows))
    assert cosines(vectors(answer), expected).min() > 0.9995


def test_an_overlap_changes_nothing_for_a_document_that_fits(service: Service) -> None:
    plain = vectors(service.embed(input=SKINCARE, late_chunking=True))
    overlapping = service.embed(input=SKINCARE, late_chunking=True, late_chunking_overlap=256)
    assert cosines(vectors(overlapping), plain).min() > 0.9995


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"late_chunking_overlap": 256}, "late_chunking_overlap needs late_chunking"),
        ({"late_chunking": True, "late_chunking_overlap": -1}, "this model takes 0 to 4096"),
        ({"late_chunking": True, "late_chunking_overlap": 4097}, "is 4097; this model takes 0"),
    ],
)
def test_an_overlap_that_makes_no_sense_is_refused(
    service: Service, fields: dict[str, Any], said: str
) -> None:
    assert_error(service.embed(input=SKINCARE, **fields), 422, "VALIDATION_ERROR", said)


def test_documents_have_a_limit_of_their_own_and_a_body_that_drips_in_is_given_up(
    original: Path,
) -> None:
    with running(model=original, max_document_tokens=9000, body_timeout_s=0.3) as service:
        body = {"late_chunking": True, "late_chunking_overlap": 100}
        vectors(service.embed(input=["a " * 9000], **body))
        refused = service.embed(input=["a " * 9001], **body)
        assert_error(refused, 400, "INPUT_TOKEN_LIMIT_EXCEEDED", "at most 9000 tokens")
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            head = "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
            connection.sendall(head.encode())
            answer = ""
            while not answer.endswith("}"):
                part = connection.recv(65536).decode()
                assert part, f"the answer ends early: {answer}"
                answer += part
        assert answer.startswith("HTTP/1.1 408 ")
        assert "the body was not there within 0.3 s." in answer
        assert service.embed(input="x").status_code == 200
