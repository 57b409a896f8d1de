"""What is answered out of the cache is what would be computed, for those alone who may have it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.access.keyfile import add_key
from tests.app.answers import assert_error
from tests.server import Service, bearer, running
from tests.waiting import wait_for_one_minute

SPACE = "x-embedding-space"
TEXT = {"input": ["Guten Morgen!", "Good night, and good luck."]}
# Each row is computed alone, by weights that never change: with the same bits each time.
ALONE = {"max_batch_tokens": 1, "adapters": "stacked", "dtype": "float32", "cpu_threads": 1}
OCTETS = {"accept": "application/octet-stream"}
# What may be asked of the same two texts: path, body, headers.
FORMS: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("/v1/embeddings", TEXT, {}),
    ("/v1/embeddings", {**TEXT, "encoding_format": "base64"}, {}),
    ("/v1/embeddings", {**TEXT, "embedding_type": "int8"}, {}),
    ("/v1/embeddings", {**TEXT, "embedding_type": ["float", "binary", "int8"]}, {}),
    ("/v1/embeddings", TEXT, OCTETS),
    ("/v1/embeddings", {**TEXT, "dimensions": 7}, {}),
    ("/v1/embeddings", {**TEXT, "dimensions": 7}, OCTETS),
    ("/v1/embeddings", {**TEXT, "dimensions": 8, "embedding_type": "int8"}, {}),
    ("/v1/embeddings", {**TEXT, "normalized": False}, {}),
    ("/v1/embeddings", {**TEXT, "normalized": False}, OCTETS),
    ("/v1/embeddings", {**TEXT, "late_chunking": True}, {}),
    ("/v1/embeddings", {**TEXT, "late_chunking": True, "dimensions": 7}, OCTETS),
    ("/v1/embeddings", {"input": TEXT["input"][:1], "late_chunking": True}, {}),
    ("/v1/embeddings", {**TEXT, "input_type": "document", "output_dtype": "int8"}, {}),
    *(("/v1/embeddings", {**TEXT, "task": task}, {}) for task in ("separation", "classification")),
    ("/v1/documents", {**TEXT, "chunking": {"by": "sentences", "min_tokens": 1}}, {}),
    ("/v1/documents", {**TEXT, "late_chunking": False, "task": "text-matching"}, {}),
    ("/embed", {"inputs": TEXT["input"]}, {}),
    ("/embed", {"inputs": TEXT["input"], "normalize": False, "dimensions": 7}, {}),
    ("/embed_all", {"inputs": TEXT["input"]}, {}),
]


@pytest.fixture(scope="module")
def cached(original: Path) -> Iterator[Service]:
    with running(model=original, **ALONE) as service:
        yield service


@pytest.fixture(scope="module")
def uncached(original: Path) -> Iterator[Service]:
    with running(model=original, cache_bytes=0, **ALONE) as service:
        yield service


def ask(
    service: Service, path: str, body: dict[str, Any], headers: dict[str, str]
) -> httpx.Response:
    return httpx.post(service.url + path, json=body, headers=headers, timeout=120)


def rows(service: Service, source: str = "cached") -> float:
    return service.metric(f'rows_total{{source="{source}"}}')


def test_every_form_of_an_answer_has_the_same_bytes_computed_cached_and_without_a_cache(
    cached: Service, uncached: Service
) -> None:
    """All forms are asked for, then all again, so that each is answered after all others, with
    their rows in the cache."""
    computed, expected = ([ask(service, *form) for form in FORMS] for service in (cached, uncached))
    count = rows(cached, "computed")
    again = [ask(cached, *form) for form in FORMS]
    assert rows(cached, "computed") == count, "all of it was cached"
    for form, *answers in zip(FORMS, expected, computed, again, strict=True):
        assert [each.status_code for each in answers] == [200] * 3, (form, answers[0].text)
        assert len({each.content for each in answers}) == 1, form
        assert len({each.headers[SPACE] for each in answers}) == 1, form
        assert len({each.headers.get("x-embedding-shape") for each in answers}) == 1, form


def test_tasks_that_read_the_same_token_ids_have_vectors_of_their_own(cached: Service) -> None:
    tasks = ("text-matching", "separation", "classification")
    asked = [{"input": "a text for three adapters", "task": task} for task in tasks]
    told = [cached.post("/tokenize", **each).json()["inputs"][0]["token_ids"] for each in asked]
    assert told[0] == told[1] == told[2], "they have no instructions"
    first = [cached.embed(**each) for each in asked]
    second = [cached.embed(**each) for each in asked]
    assert [each.content for each in first] == [each.content for each in second]
    assert len({each.content for each in first}) == 3
    assert len({each.headers[SPACE] for each in first}) == 3


def test_a_text_that_is_cached_is_412_for_who_expects_another_space(cached: Service) -> None:
    text = {"input": "a text that is cached"}
    found = cached.embed(**text)
    other = cached.embed(**text, task="separation").headers[SPACE]
    count = rows(cached)
    for headers in ({}, OCTETS):
        refused = ask(cached, "/v1/embeddings", text, {SPACE: other, **headers})
        assert_error(refused, 412, "INPUT_SPACE_MISMATCH", other)
        assert refused.headers[SPACE] == found.headers[SPACE]
    assert rows(cached) == count
    expected = ask(cached, "/v1/embeddings", text, {SPACE: found.headers[SPACE]})
    assert expected.content == found.content
    assert rows(cached) == count + 1


def test_a_cached_text_needs_a_key_and_counts_as_any_other(original: Path, tmp_path: Path) -> None:
    """In usage, limits and metrics; another caller's text is as cached as one's own."""
    keys = tmp_path / "keys"
    first, second = (bearer(add_key(keys, name)) for name in ("first", "second"))
    text = {"input": "a text that both have"}
    with running(model=original, keys_file=keys, max_tokens_per_minute=30, **ALONE) as service:
        with httpx.Client(headers=first) as client:
            shown = client.get(f"{service.url}/metrics").text
        assert "quintet_key_tokens_total{" not in shown
        computed = ask(service, "/v1/embeddings", text, first)
        wait_for_one_minute()
        tokens = computed.json()["usage"]["total_tokens"]
        answers = [ask(service, "/v1/embeddings", text, second) for _ in range(30 // tokens)]
        for number, each in enumerate(answers, 1):
            assert each.content == computed.content
            left = int(each.headers["x-ratelimit-remaining-tokens"])
            assert left == 30 - number * tokens
        assert rows(service) == len(answers)
        assert_error(
            ask(service, "/v1/embeddings", text, second),
            *(429, "RATE_TOKEN_LIMIT_EXCEEDED", "tokens per minute"),
        )
        assert_error(
            ask(service, "/v1/embeddings", text, {}), 401, "AUTH_MISSING_API_KEY", "asks for a key"
        )
        wrong = ask(service, "/v1/embeddings", text, bearer("qk-wrong"))
        assert_error(wrong, 401, "AUTH_INVALID_API_KEY", "key")
        assert service.metric('key_tokens_total{key="second"}') == len(answers) * tokens
        assert rows(service) == len(answers)
