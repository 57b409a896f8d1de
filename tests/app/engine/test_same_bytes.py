"""The same bytes with the cache as without it, under concurrency, of texts that nobody sent before.

A row alone in a batch, read by weights that never change, has the same bits each time; so both
services compute it that way, and every answer is compared whole.
"""

import json
import random
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.checkpoints import TASKS
from tests.server import Service, running

CLIENTS, REQUESTS, TEXTS = 8, 15, 12
ALONE = {"max_batch_tokens": 1, "adapters": "stacked", "dtype": "float32", "cpu_threads": 1}

Sent = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def cached(original: Path) -> Iterator[Service]:
    """Its cache has room for some of the texts, so that some give way."""
    with running(model=original, cache_bytes=20_000, **ALONE) as service:
        yield service


@pytest.fixture(scope="module")
def uncached(original: Path) -> Iterator[Service]:
    with running(model=original, cache_bytes=0, **ALONE) as service:
        yield service


def requests(rng: random.Random) -> list[Sent]:
    """Of all kinds, over few texts, some of which come far more often than others."""
    texts = [" ".join(secrets.token_hex(2) for _ in range(1 + n)) for n in range(TEXTS)]
    weights = [1 / (rank + 1) for rank in range(TEXTS)]
    tasks = rng.sample(sorted(TASKS), 2)
    made: list[Sent] = []
    for _ in range(CLIENTS * REQUESTS):
        some = rng.choices(texts, weights, k=rng.choice([1, 1, 1, 3]))
        body: dict[str, Any] = {"input": some, "task": rng.choice(tasks)}
        if rng.random() < 0.2:
            made.append(("/v1/documents", {**body, "chunking": {"by": "tokens", "max_tokens": 4}}))
            continue
        body["late_chunking"] = rng.random() < 0.2
        body["embedding_type"] = rng.choice(["float", "base64", "int8"])
        body["dimensions"] = rng.choice([None, 16])
        made.append(("/v1/embeddings", body))
    return made


def answers(service: Service, sent: list[Sent]) -> list[bytes]:
    """Asked by several clients at once."""

    def ask(client: int) -> list[bytes]:
        with service.client() as http:
            found = [http.post(path, json=body) for path, body in sent[client::CLIENTS]]
        return [answer.raise_for_status().content for answer in found]

    with ThreadPoolExecutor(CLIENTS) as pool:
        by_client = list(pool.map(ask, range(CLIENTS)))
    return [by_client[at % CLIENTS][at // CLIENTS] for at in range(len(sent))]


def test_every_answer_has_the_same_bytes_with_and_without_the_cache(
    cached: Service, uncached: Service
) -> None:
    seed = random.randrange(2**32)
    print(f"random seed: {seed}")
    sent = requests(random.Random(seed))
    expected = answers(uncached, sent)
    for _ in range(2):
        for (path, body), found, wanted in zip(sent, answers(cached, sent), expected, strict=True):
            assert found == wanted, f"{path} {json.dumps(body)}"
    text = httpx.get(f"{cached.url}/metrics").text
    for source in ("computed", "cached"):
        assert f'quintet_rows_total{{source="{source}"}} 0.0' not in text
