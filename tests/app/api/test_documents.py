"""POST /v1/documents on a running service: texts in every script, every unit, every refusal."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from model.embedder import Embedder
from tests.app.answers import assert_error, cosines, vectors
from tests.app.engine.test_promises import send_and_keep_open
from tests.checkpoints import TASKS, Shape, write_original
from tests.model.test_documents import texts_of
from tests.server import Service, running

FAMILY = (
    "👨‍👩‍👧 e\u0301t\u00e9. Zweiter Satz!\r\n\r\nสวัสดีครับ ชื่ออะไร مرحبا بالعالم. كيف؟ 你好。再见。 "
)
ENCODED = {
    "codepoints": lambda text: text,
    "utf16": lambda text: text.encode("utf-16-le"),
    "bytes": lambda text: text.encode(),
}


def chunks(answer: httpx.Response, document: int = 0) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found = answer.json()["data"][document]["chunks"]
    assert [each["index"] for each in found] == [*range(len(found))]
    return found


def embeddings(found: list[dict[str, Any]]) -> np.ndarray:
    return np.array([each["embedding"] for each in found], np.float32)


@pytest.mark.parametrize(("unit", "width"), [("codepoints", 1), ("utf16", 2), ("bytes", 1)])
@pytest.mark.parametrize("by", ["sentences", "tokens", "markdown"])
def test_positions_cut_the_chunks_text_out_of_the_document_in_every_unit(
    service: Service, rng: np.random.Generator, unit: str, width: int, by: str
) -> None:
    texts = [FAMILY, *texts_of(rng, 4)]
    body = {"input": texts, "chunking": {"by": by, "max_tokens": 12}, "offsets": unit}
    answer = service.post("/v1/documents", **body)
    for index, text in enumerate(texts):
        whole = ENCODED[unit](text)
        found = chunks(answer, index)
        for each in found:
            part = whole[each["start"] * width : each["end"] * width]
            assert part == ENCODED[unit](each["text"])
            assert each["tokens"] <= 12
        assert "".join("".join(each["text"] for each in found).split()) == "".join(text.split())


@pytest.mark.parametrize("late_chunking", [True, False])
@pytest.mark.parametrize("task", [None, *TASKS])
def test_the_notebook_gives_the_same(
    service: Service,
    quintet: Embedder,
    rng: np.random.Generator,
    task: str | None,
    late_chunking: bool,
) -> None:
    texts = [*texts_of(rng, 2), "", "x"]
    cut = {"by": "sentences", "max_tokens": 30, "min_tokens": 3, "overlap": 4}
    body = {"input": texts, "late_chunking": late_chunking, "chunking": cut, "dimensions": 64}
    answer = service.post("/v1/documents", **body, **({"task": task} if task else {}))
    assert answer.status_code == 200, answer.text
    same = {**cut, "late_chunking": late_chunking, "dimensions": 64}
    expected = quintet.embed_documents(texts, **({"task": task} if task else {}), **same)
    for found, own in zip(answer.json()["data"], expected, strict=True):
        assert (found["object"], found["tokens"]) == ("document", own.tokens)
        given = [(c["start"], c["end"], c["text"], c["tokens"]) for c in found["chunks"]]
        assert given == [(c.start, c.end, c.text, c.tokens) for c in own.chunks]
        both = np.array([found["embedding"], *(c["embedding"] for c in found["chunks"])])
        python = np.array([own.vector, *(chunk.vector for chunk in own.chunks)])
        assert cosines(both, python).min() > 0.999
        np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-5)


def test_spans_have_the_vectors_of_late_chunked_inputs_and_the_document_that_of_a_plain_one(
    service: Service, rng: np.random.Generator
) -> None:
    pieces = [" ".join(text.split()) or "x" for text in texts_of(rng, 5)]
    text, spans, at = " ".join(pieces), [], 0
    for piece in pieces:
        spans.append([at, at + len(piece)])
        at += len(piece) + 1
    answer = service.post(
        "/v1/documents", input=text, chunking={"by": "spans", "spans": spans}, task="separation"
    )
    inputs = service.embed(input=pieces, late_chunking=True, task="separation")
    np.testing.assert_allclose(embeddings(chunks(answer)), vectors(inputs), atol=1e-5)
    assert answer.json()["usage"] == inputs.json()["usage"]
    plain = vectors(service.embed(input=text, task="separation"))
    own = embeddings(answer.json()["data"])
    np.testing.assert_allclose(own, plain, atol=1e-5)
    assert [each["text"] for each in chunks(answer)] == pieces


def test_spans_are_in_the_unit_of_offsets_and_may_overlap(service: Service) -> None:
    spans = [[[0, 6], [3, 10]], [[0, 1]]]
    body = {"chunking": {"by": "spans", "spans": spans}, "offsets": "utf16"}
    answer = service.post("/v1/documents", input=["😀 b cde f", "a"], **body)
    assert [each["text"] for each in chunks(answer)] == ["😀 b c", "b cde f"]
    assert [(each["start"], each["end"]) for each in chunks(answer)] == [(0, 6), (3, 10)]
    assert [each["text"] for each in chunks(answer, 1)] == ["a"]


def test_what_is_not_asked_for_is_left_out_and_ids_come_back(service: Service) -> None:
    documents = [{"text": "One. Two.", "id": "a"}, {"text": "Three.", "id": 7}, "Four."]
    body = {"input": documents, "return_text": False, "document_embedding": False}
    answer = service.post("/v1/documents", **body, chunking={"min_tokens": 1}).json()
    assert [each.get("id") for each in answer["data"]] == ["a", 7, None]
    assert [len(each["chunks"]) for each in answer["data"]] == [2, 1, 1]
    for each in answer["data"]:
        assert "embedding" not in each
        assert all("text" not in chunk for chunk in each["chunks"])
    assert list(answer) == ["object", "model", "embedding_space", "usage", "data"]


def test_vectors_are_written_as_asked(service: Service) -> None:
    types = ["base64", "binary", "float"]
    body = {"input": "One. Two.", "dimensions": 8, "chunking": {"min_tokens": 1}}
    plain = service.post("/v1/documents", **body, normalized=False)
    several = service.post("/v1/documents", **body, embedding_type=types, normalized=False)
    for each, other in zip(chunks(several), chunks(plain), strict=True):
        assert list(each["embedding"]) == types
        assert len(each["embedding"]["binary"]) == 1
        assert each["embedding"]["float"] == other["embedding"]
    assert (abs(np.linalg.norm(embeddings(chunks(plain)), axis=1) - 1) > 1e-3).all()


def test_usage_is_what_is_read(service: Service, rng: np.random.Generator) -> None:
    texts = texts_of(rng, 4)
    counted = service.post("/tokenize", input=texts, counts_only=True).json()
    late = service.post("/v1/documents", input=texts).json()
    assert late["usage"]["total_tokens"] == counted["total_tokens"] + 2 * len(texts)
    assert [each["tokens"] for each in late["data"]] == [
        each["tokens"] for each in counted["inputs"]
    ]
    asked = {"late_chunking": False, "document_embedding": False}
    alone = service.post("/v1/documents", input=texts, **asked).json()
    parts = [chunk["text"] for each in alone["data"] for chunk in each["chunks"]]
    assert alone["usage"] == service.embed(input=parts).json()["usage"]


def test_documents_are_one_job_that_ends_when_its_caller_hangs_up(engine: Service) -> None:
    texts = ["A sentence of words. " * 40] * 30
    body = httpx.Request("POST", "http://x", json={"input": texts}).content
    with engine.suspended():
        connection = send_and_keep_open(engine, body, "away", "/v1/documents")
        engine.wait_for_queue(30)
        connection.close()
        engine.log.wait_for(r"POST /v1/documents 499 .*request_id=away")
        assert engine.metric("queue_rows") == 0
    assert chunks(engine.post("/v1/documents", input=texts[:1]))


def test_the_log_line_and_the_metrics_count_documents_and_chunks(service: Service) -> None:
    body = {"input": ["One. Two.", "Three."], "chunking": {"min_tokens": 1}}
    headers = {"x-request-id": "counted"}
    before = service.metric("documents_total"), service.metric("chunks_total")
    httpx.post(f"{service.url}/v1/documents", json=body, headers=headers, timeout=60)
    assert service.metric("documents_total") == before[0] + 2
    assert service.metric("chunks_total") == before[1] + 3
    line = service.log.wait_for("request_id=counted .*").string
    assert "task=retrieval.passage documents=2 chunks=3 tokens=" in line


@pytest.mark.parametrize(("unit", "width"), [("codepoints", 1), ("utf16", 2), ("bytes", 1)])
def test_tokenize_says_where_tokens_stand(service: Service, unit: str, width: int) -> None:
    body = {"input": [FAMILY, ""], "task": "retrieval.query", "offsets": unit}
    answer = service.post("/tokenize", **body).json()
    first, empty = answer["inputs"]
    assert len(first["offsets"]) == len(first["token_ids"])
    assert empty["offsets"] == [None] * len(empty["token_ids"])
    own = [each for each in first["offsets"] if each]
    assert len(own) == first["tokens"]
    assert first["offsets"].index(own[0]) == len(empty["token_ids"]) - 1
    whole = ENCODED[unit](FAMILY)
    covered = {at for start, end in own for at in range(start * width, end * width)}
    rest = bytes(whole[at] for at in range(len(whole)) if at not in covered) if width == 2 else b""
    assert not rest.decode("utf-16-le").strip(" \r\n\u200d")
    assert own[-1][0] < len(whole) // width


def test_tokenize_refuses_offsets_of_ids_that_are_left_out(service: Service) -> None:
    refused = service.post("/tokenize", input="a", offsets="bytes", counts_only=True)
    assert_error(refused, 422, "VALIDATION_ERROR", "counts_only must be false")
    assert "offsets" not in service.post("/tokenize", input="a").json()["inputs"][0]


def test_windows_overlap_by_half_of_a_small_limit_unless_another_overlap_is_said(
    tmp_path: Path,
) -> None:
    folder = write_original(tmp_path / "small", Shape())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 62}))
    asked = {"input": ["word " * 200], "chunking": {"by": "tokens", "max_tokens": 20}}
    with running(model=folder, cpu_threads=1) as service, service.client() as client:
        default = client.post("/v1/documents", json=asked)
        half = client.post("/v1/documents", json={**asked, "late_chunking_overlap": 30})
        more = client.post("/v1/documents", json={**asked, "late_chunking_overlap": 256})
    assert default.status_code == half.status_code == 200, default.text
    np.testing.assert_allclose(embeddings(chunks(default)), embeddings(chunks(half)), atol=1e-6)
    assert_error(
        more, 422, "VALIDATION_ERROR", "late_chunking_overlap is 256; this model takes 0 to 30"
    )
