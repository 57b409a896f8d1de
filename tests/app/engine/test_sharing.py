"""Equal texts: computed once, for everybody, whoever leaves; and not again when cached."""

import concurrent.futures
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.access.keyfile import add_key
from tests.app.engine.test_promises import send_and_keep_open
from tests.server import Service, bearer, running
from tests.waiting import wait_for_one_minute, wait_until

QUEUE_TOKENS = 5000


@pytest.fixture(scope="module")
def sharing(original: Path) -> Iterator[Service]:
    """A service with small batches. A test may suspend or kill its worker, which comes back."""
    bounds = {"max_batch_tokens": 128, "max_queue_tokens": QUEUE_TOKENS}
    with running(model=original, cpu_threads=1, **bounds) as service:
        yield service


def fresh(words: int = 1) -> list[str]:
    """Texts that were never sent before."""
    return [secrets.token_hex(8) for _ in range(words)]


def sources(service: Service) -> dict[str, float]:
    """Rows so far, by where their vectors came from."""
    text = httpx.get(f"{service.url}/metrics").text
    found = re.findall(r'^quintet_rows_total{source="(\w+)"} (\S+)$', text, re.MULTILINE)
    return {name: float(count) for name, count in found}


def wait_for_shared(service: Service, before: dict[str, float], rows: int) -> None:
    """Wait until so many rows have joined equal ones."""
    wait_until(lambda: sources(service)["shared"] - before["shared"] >= rows, f"{rows} shared rows")


def since(service: Service, before: dict[str, float]) -> tuple[float, ...]:
    """Computed, shared and cached rows since then."""
    now = sources(service)
    return tuple(now[name] - before[name] for name in ("computed", "shared", "cached"))


def test_equal_texts_that_wait_together_are_computed_once(sharing: Service) -> None:
    (text,), before = fresh(), sources(sharing)
    batched = sharing.metric("batch_rows_sum")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        with sharing.suspended():
            asked = [pool.submit(sharing.embed, input=text) for _ in range(8)]
            wait_for_shared(sharing, before, 7)
            assert sharing.metric("queue_rows") == 1
        answers = [each.result() for each in asked]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sharing.metric("batch_rows_sum") == batched + 1
    assert since(sharing, before) == (1, 7, 0)


def test_a_cached_text_costs_no_queue_and_counts_as_ever(sharing: Service) -> None:
    (text,) = fresh()
    first, before, kept = sharing.embed(input=text), sources(sharing), sharing.metric("cache_bytes")
    tokens, batches = sharing.metric("tokens_total"), sharing.metric("batch_rows_count")
    with sharing.suspended():
        again = sharing.embed(input=text)
    assert again.content == first.content
    assert since(sharing, before) == (0, 0, 1)
    assert sharing.metric("cache_bytes") == kept > 0
    assert sharing.metric("batch_rows_count") == batches
    usage = first.json()["usage"]["total_tokens"]
    assert sharing.metric("tokens_total") == tokens + usage
    other = sharing.embed(input=text, task="separation")
    assert since(sharing, before) == (1, 0, 1)
    assert other.json()["data"] != first.json()["data"]


def test_equal_inputs_of_one_request_are_computed_once_and_stand_in_order(
    sharing: Service,
) -> None:
    (one, two, three), before = fresh(3), sources(sharing)
    old = sharing.embed(input=[three]).json()["data"][0]["embedding"]
    found = sharing.embed(input=[one, two, three, one, two, one, three]).json()
    assert since(sharing, before) == (1 + 2, 3, 2)
    vectors = [each["embedding"] for each in found["data"]]
    assert vectors[0] == vectors[3] == vectors[5] != vectors[1] == vectors[4]
    assert vectors[2] == vectors[6] == old
    assert found["usage"]["total_tokens"] == sum(
        sharing.embed(input=text).json()["usage"]["total_tokens"]
        for text in (one, two, three, one, two, one, three)
    )


def test_whatever_is_asked_of_its_vectors_a_text_is_computed_once(sharing: Service) -> None:
    (text,) = fresh()
    whole = sharing.embed(input=text, normalized=False).json()["data"][0]["embedding"]
    before = sources(sharing)
    half = sharing.embed(input=text, dimensions=32).json()["data"][0]["embedding"]
    head = np.array(whole[:32], np.float32)
    np.testing.assert_allclose(half, head / np.linalg.norm(head), atol=1e-6)
    for asked in ({"embedding_type": "ubinary"}, {"encoding_format": "base64"}):
        assert sharing.embed(input=text, **asked).status_code == 200
    assert since(sharing, before) == (0, 0, 3)


def test_documents_are_shared_and_cached_with_all_their_chunks(sharing: Service) -> None:
    document = " ".join(f"It is {word}." for word in fresh(20))
    body = {"input": document, "chunking": {"by": "sentences", "min_tokens": 1}}
    before, kept = sources(sharing), sharing.metric("cache_bytes")
    first = sharing.post("/v1/documents", **body)
    vectors = len(first.json()["data"][0]["chunks"]) + 1
    assert vectors > 10
    assert sharing.metric("cache_bytes") - kept >= vectors * 4 * width(sharing)
    assert sharing.post("/v1/documents", **body).content == first.content
    assert since(sharing, before) == (1, 0, 1)
    # The same tokens with other chunks are another row.
    sharing.post("/v1/documents", **{**body, "chunking": {"by": "sentences"}})
    assert since(sharing, before) == (2, 0, 1)


def width(service: Service) -> int:
    return int(httpx.get(f"{service.url}/info").json()["width"])


def test_who_hangs_up_takes_no_row_back_that_another_one_waits_for(sharing: Service) -> None:
    """Of the first caller's rows, all that nobody else waits for leave the queue at once."""
    texts, before, name = fresh(5), sources(sharing), secrets.token_hex(8)
    body = httpx.Request("POST", "http://x", json={"input": texts}).content
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with sharing.suspended():
            first = send_and_keep_open(sharing, body, name)
            sharing.wait_for_queue(5)
            others = [
                pool.submit(sharing.embed, input=[texts[at], f"{fresh()} {'word ' * 100}"])
                for at in (1, 3)
            ]
            wait_for_shared(sharing, before, 2)
            assert sharing.metric("queue_rows") == 7
            first.close()
            sharing.log.wait_for(rf"POST /v1/embeddings 499 .*request_id={name}")
            assert sharing.metric("queue_rows") == 4
        answers = [each.result() for each in others]
    assert [answer.status_code for answer in answers] == [200, 200]
    for at, answer in zip((1, 3), answers, strict=True):
        found = np.array(answer.json()["data"][0]["embedding"])
        alone = sharing.embed(input=texts[at], normalized=True).json()["data"][0]["embedding"]
        np.testing.assert_allclose(found, alone, atol=1e-5)
    assert sharing.metric("queue_rows") == sharing.metric("queue_tokens") == 0


def test_a_query_does_not_wait_for_bulk_that_has_the_same_text(sharing: Service) -> None:
    """It has a job of its own; whoever sends all of the bulk once more has none."""
    texts, before = fresh(100), sources(sharing)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with sharing.suspended():
            bulk = pool.submit(sharing.embed, input=texts)
            sharing.wait_for_queue(100)
            again = pool.submit(sharing.embed, input=texts)
            wait_for_shared(sharing, before, 100)
            query = pool.submit(sharing.embed, input=texts[-1])
            sharing.wait_for_queue(101)
        assert bulk.result().content == again.result().content
        assert query.result().status_code == 200
    assert since(sharing, before) == (101, 100, 0)


def test_when_all_have_hung_up_nothing_is_left_to_compute(sharing: Service) -> None:
    (text,), before, names = fresh(), sources(sharing), fresh(3)
    body = httpx.Request("POST", "http://x", json={"input": text}).content
    with sharing.suspended():
        callers = [send_and_keep_open(sharing, body, name) for name in names]
        wait_for_shared(sharing, before, 2)
        for left, (caller, name) in enumerate(zip(callers, names, strict=True), 1):
            assert sharing.metric("queue_rows") == 1
            caller.close()
            sharing.log.wait_for(r"POST /v1/embeddings 499 .*request_id=" + name)
            assert sharing.metric("queue_rows") == (left < 3)
    assert sharing.embed(input=text).status_code == 200
    assert since(sharing, before)[1:] == (2, 0)


def test_a_worker_that_dies_fails_all_who_wait_and_takes_the_cache_with_it(
    sharing: Service,
) -> None:
    (text, kept), before = fresh(2), sources(sharing)
    assert sharing.embed(input=kept).status_code == 200
    starts = sharing.log.count("serving +http")
    with sharing.suspended() as worker, concurrent.futures.ThreadPoolExecutor() as pool:
        asked = [pool.submit(sharing.embed, input=text) for _ in range(3)]
        wait_for_shared(sharing, before, 2)
        worker.kill()
        for lost in [each.result() for each in asked]:
            assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")
        assert sharing.embed(input=kept).status_code == 200  # no worker, no queue
    sharing.log.wait_for("serving +http", count=starts + 1)
    assert sharing.metric("cache_bytes") == 0
    assert [sharing.embed(input=each).status_code for each in (text, kept)] == [200, 200]
    assert since(sharing, before) == (3, 2, 1)


def test_a_request_that_could_never_wait_is_refused_cached_or_not(sharing: Service) -> None:
    text = "word " * 100
    assert sharing.embed(input=text).status_code == 200
    refused = sharing.embed(input=[text] * (QUEUE_TOKENS // 100))
    assert (refused.status_code, refused.json()["code"]) == (400, "INPUT_TOKEN_LIMIT_EXCEEDED")


def test_cached_rows_are_charged_to_the_callers_limits(original: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "busy")
    limited = {"keys_file": tmp_path / "keys", "max_tokens_per_minute": 1000}
    with running(model=original, cpu_threads=1, **limited) as service:
        with service.client(headers=bearer(key)) as client:
            wait_for_one_minute()
            first, again = (client.post("/v1/embeddings", json={"input": "x y"}) for _ in range(2))
        cost = first.json()["usage"]["total_tokens"]
        before, after = (
            int(answer.headers["x-ratelimit-remaining-tokens"]) for answer in (first, again)
        )
        assert before - after == cost == again.json()["usage"]["total_tokens"]
        assert service.metric("key_tokens_total") == 2 * cost
        assert sources(service) == {"computed": 1, "shared": 0, "cached": 1}


def test_without_bytes_every_row_is_computed_anew(original: Path) -> None:
    with running(model=original, cpu_threads=1, cache_bytes=0) as service:
        answers = [service.embed(input=["a", "a", "b"]) for _ in range(2)]
        assert {answer.status_code for answer in answers} == {200}
        assert sources(service) == {"computed": 6, "shared": 0, "cached": 0}
        assert service.metric("cache_bytes") == 0


def test_an_interactive_request_does_not_join_a_flex_job_but_one_of_flex_joins_it(
    sharing: Service,
) -> None:
    """It is computed apart, in its own lane, though the flex job has as few tokens."""
    (text,), before = fresh(), sources(sharing)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with sharing.suspended():
            first = pool.submit(sharing.embed, input=text, service_tier="flex")
            sharing.wait_for_queue(1)
            second = pool.submit(sharing.embed, input=text)
            sharing.wait_for_queue(2)
            third = pool.submit(sharing.embed, input=text, service_tier="flex")
            wait_for_shared(sharing, before, 1)
        answers = [each.result().json() for each in (first, second, third)]
    assert since(sharing, before) == (2, 1, 0)
    assert answers[0]["data"] == answers[2]["data"]
    vectors = [answer["data"][0]["embedding"] for answer in answers[:2]]
    np.testing.assert_allclose(*vectors, atol=1e-5)


def test_flex_rows_are_taken_from_the_cache_and_drive_nothing_out_of_it(sharing: Service) -> None:
    (kept, bulk), before = fresh(2), sources(sharing)
    first = sharing.embed(input=kept)
    entries = sharing.metric("cache_bytes")
    again = sharing.embed(input=kept, service_tier="flex")
    assert again.json()["data"] == first.json()["data"]
    assert since(sharing, before) == (1, 0, 1)
    for _ in range(2):
        assert sharing.embed(input=bulk, service_tier="flex").status_code == 200
    assert since(sharing, before) == (3, 0, 1)
    assert sharing.metric("cache_bytes") == entries
