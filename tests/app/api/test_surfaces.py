"""The surfaces around the main route: /tokenize, /info, long documents, SageMaker's contract."""

import socket
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from model import embedder
from model.embedder import Embedder
from model.rows import Row
from model.tokenizer import RowOptions
from tests.app.answers import SKINCARE, assert_error, cosines, vectors
from tests.checkpoints import TASKS
from tests.server import Service, running


@pytest.mark.parametrize("task", TASKS)
def test_tokenize_says_what_the_model_reads_and_what_counts(
    service: Service, quintet: Embedder, task: str
) -> None:
    answer = service.post("/tokenize", input=[*SKINCARE, ""], task=task).json()
    tokenized = quintet.tokenizer.rows([*SKINCARE, ""], quintet.tasks.named(task))
    for each, row in zip(answer["inputs"], tokenized.rows, strict=True):
        assert each["token_ids"] == row.token_ids.tolist()
        assert each["fits"] is True
    charged = service.embed(input=[*SKINCARE, ""], task=task).json()["usage"]["total_tokens"]
    counts = [each["tokens"] for each in answer["inputs"]]
    assert sum(counts) + 2 * len(counts) == charged
    assert (answer["total_tokens"], answer["task"], answer["max_tokens"]) == (
        sum(counts),
        task,
        8192,
    )
    late = service.embed(input=[*SKINCARE, ""], task=task, late_chunking=True).json()["usage"]
    assert late["total_tokens"] == answer["total_tokens"] + 2


def test_tokenize_counts_what_does_not_fit_and_leaves_ids_out_when_asked(service: Service) -> None:
    inputs = ["a " * 8192, "b " * 8193]
    answer = service.post("/tokenize", input=inputs, counts_only=True).json()
    assert [(each["tokens"], each["fits"]) for each in answer["inputs"]] == [
        (8192, True),
        (8193, False),
    ]
    assert not any("token_ids" in each for each in answer["inputs"])
    assert answer["fits_late_chunking"] is False
    refused = service.post("/tokenize", input="x", task="nope")
    assert_error(refused, 422, "VALIDATION_ERROR", "unknown task 'nope'")
    refused = service.post("/tokenize", input=[1])
    assert_error(refused, 400, "INPUT_TOKEN_IDS_UNSUPPORTED", "token ids")


def test_tokenize_names_what_it_ignores(service: Service) -> None:
    answer = service.post("/tokenize", input={"text": "a", "url": "x"}, seed=1)
    assert answer.headers["x-ignored-fields"] == "input.url, seed"


def test_info_says_what_is_served(service: Service) -> None:
    info = httpx.get(f"{service.url}/info").json()
    assert (info["model"], info["width"], info["max_tokens"]) == ("quintet-mini", 256, 8192)
    assert info["matryoshka_dimensions"] == [32, 64, 128, 256]
    assert (info["tasks"], info["default_task"]) == (list(TASKS), "text-matching")
    (worker,) = info["workers"]
    assert worker["attention"] == "sdpa, products"
    assert worker["dtype"] in ("bfloat16", "float32")


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
    tokenized = loaded.tokenizer.rows(inputs, loaded.tasks.named("retrieval.passage"), reading)
    assert len(tokenized.rows) > 1
    expected = tokenized.vectors(loaded.embed(tokenized.rows))
    assert cosines(vectors(answer), expected).min() > 0.9999


def test_an_overlap_changes_nothing_for_a_document_that_fits(service: Service) -> None:
    plain = vectors(service.embed(input=SKINCARE, late_chunking=True))
    overlapping = service.embed(input=SKINCARE, late_chunking=True, late_chunking_overlap=256)
    assert cosines(vectors(overlapping), plain).min() > 0.9999


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


def test_ping_is_readiness(service: Service) -> None:
    assert httpx.get(f"{service.url}/ping").json() == {"status": "ok"}


def test_rows_of_the_tokenizer_are_rows_of_the_model(quintet: Embedder) -> None:
    """What /tokenize shows is what is embedded: the ids alone give the same vector."""
    task = quintet.tasks.named("retrieval.query")
    (row,) = quintet.tokenizer.rows(["x y"], task, RowOptions(counting=True)).rows
    found = quintet.embed(
        [Row.single_span(np.array(row.token_ids.tolist(), np.int32), task.adapter)]
    )
    assert cosines(found, quintet.embed_texts(["x y"], "retrieval.query")).min() > 0.9999
