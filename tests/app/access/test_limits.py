"""Limits: refused whole, for nothing, with the time after which it helps to ask again."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from app.access.budget import Budget
from app.access.limits import MinuteWindow, limits_of
from app.access.store import store_of
from app.errors import UnavailableError
from app.settings import Settings, SettingsError, check_servable
from app.telemetry.metrics import Metrics
from model.extras import how_to_install
from tests.app.answers import assert_error
from tests.checkpoints import MINI
from tests.server import Service, running
from tests.waiting import wait_for_one_minute

counts = st.integers(0, 1000)


@given(
    limit=st.integers(1, 1000),
    before=counts,
    before_ends_s=st.floats(0, 60),
    current=counts,
    cost=counts,
)
def test_after_the_time_to_wait_a_request_fits_and_a_second_earlier_it_does_not(
    limit: int, before: int, before_ends_s: float, current: int, cost: int
) -> None:
    """Judged by letting the seconds pass one by one."""
    cost, before, current = min(cost, limit), min(before, limit), min(current, limit)

    def after(seconds: float) -> MinuteWindow:
        """The same window later, as the library slides it."""
        if seconds < before_ends_s:
            left = before_ends_s - seconds
            return MinuteWindow(limit, before, left, current, left + 60)
        left = max(before_ends_s + 60 - seconds, 0.0)
        return MinuteWindow(limit, current, left, 0, 0.0)

    wait = after(0).wait_s(cost)
    assert 1 <= wait <= 120
    assert after(wait).remaining >= cost
    if after(0).remaining < cost and wait > 1:
        assert after(wait - 1.001).remaining < cost
    # What is left at the time of the reset is all of it.
    assert after(after(0).reset_s).remaining == limit


@pytest.fixture(scope="module")
def limited() -> Iterator[Service]:
    limits = {"max_requests_per_minute": 12, "max_tokens_per_minute": 400}
    with running(**limits) as service:
        yield service


def left(answer: httpx.Response, what: str) -> int:
    return int(answer.headers[f"x-ratelimit-remaining-{what}"])


def embed(service: Service, address: str, text: str = "x") -> httpx.Response:
    """Asked for by a proxy on this machine, which says whose request it passes on."""
    headers = {"x-forwarded-for": address}
    url = f"{service.url}/v1/embeddings"
    return httpx.post(url, json={"input": text}, headers=headers, timeout=120)


def text_of(tokens: int) -> str:
    """A text of so many tokens of the embedded model's, special ones included."""
    tokenizer = tokenizers.Tokenizer.from_file(str(MINI / "tokenizer.json"))
    (word,) = tokenizer.encode("x", add_special_tokens=False).tokens
    assert word == "▁x"
    return "x " * (tokens - 2)


def test_what_is_left_is_said_and_over_it_a_request_costs_nothing(limited: Service) -> None:
    wait_for_one_minute()
    first = embed(limited, "192.0.2.1", text_of(200))
    assert first.status_code == 200
    tokens = first.json()["usage"]["total_tokens"]
    assert left(first, "tokens") == 400 - tokens
    assert left(first, "requests") == 11
    assert first.headers["x-ratelimit-limit-tokens"] == "400"
    assert first.headers["x-ratelimit-limit-requests"] == "12"
    for what in ("tokens", "requests"):
        assert first.headers[f"x-ratelimit-reset-{what}"].endswith("s")
    before = limited.metric("refused_total")
    refused = embed(limited, "192.0.2.1", text_of(280))
    said = "over the limit of 400 tokens per minute"
    assert_error(refused, 429, "RATE_TOKEN_LIMIT_EXCEEDED", said)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.json()["error"]["type"] == "tokens"
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    assert (left(refused, "tokens"), left(refused, "requests")) == (400 - tokens, 11)
    assert limited.metric("refused_total") == before + 1
    again = embed(limited, "192.0.2.1")
    assert (again.status_code, left(again, "tokens"), left(again, "requests")) == (
        200,
        400 - tokens - again.json()["usage"]["total_tokens"],
        10,
    )


def test_a_request_that_is_over_a_limit_by_itself_is_told_never_to_come_again(
    limited: Service,
) -> None:
    refused = embed(limited, "192.0.2.2", text_of(500))
    said = "may use at most 400 a minute here. Send it in parts."
    assert_error(refused, 400, "INPUT_TOKEN_LIMIT_EXCEEDED", said)
    assert "retry-after" not in refused.headers
    assert (left(refused, "tokens"), left(refused, "requests")) == (400, 12)


def test_requests_are_counted_over_all_routes_with_texts(limited: Service) -> None:
    headers = {"x-forwarded-for": "192.0.2.3"}
    wait_for_one_minute()
    with limited.client(headers=headers) as client:
        for number in range(12):
            path, body = (("/tokenize", {"input": "x"}), ("/invocations", {"data": ["x"]}))[
                number % 2
            ]
            answer = client.post(path, json=body)
            assert (answer.status_code, left(answer, "requests")) == (200, 11 - number)
        refused = client.post("/v1/embeddings", json={"input": "x"})
        assert_error(refused, 429, "RATE_REQUEST_LIMIT_EXCEEDED", "over the limit of 12 requests")
        assert refused.json()["error"]["type"] == "requests"
        assert left(refused, "requests") == 0
        # Nobody else is limited by it, and neither are the routes without texts.
        assert embed(limited, "192.0.2.4").status_code == 200
        for path in ("/v1/models", "/info", "/ready", "/metrics"):
            assert client.get(path).status_code == 200


def test_openais_sdk_reads_a_refusal(limited: Service) -> None:
    headers = {"x-forwarded-for": "192.0.2.5"}
    wait_for_one_minute()
    options = {"api_key": "none", "max_retries": 0, "default_headers": headers}
    with openai.OpenAI(base_url=f"{limited.url}/v1", **options) as client:
        for _ in range(12):
            client.embeddings.create(model="quintet-mini", input="x")
        with pytest.raises(openai.RateLimitError) as caught:
            client.embeddings.create(model="quintet-mini", input="x")
        assert caught.value.code == "rate_limit_exceeded"
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 120


BULK = {"input": [f"number {index} " * 100 for index in range(256)]}


@pytest.fixture(scope="module")
def bounded(original: Path) -> Iterator[Service]:
    """Its queue takes BULK's tokens and not twice as many, though they are the same."""
    limits = {"max_requests_per_minute": 10_000, "max_tokens_per_minute": 10_000_000}
    bounds = {"max_queue_tokens": 110_000, "cache_bytes": 0}
    with running(model=original, cpu_threads=1, **bounds, **limits) as service:
        yield service


def test_what_the_engine_does_not_take_costs_nothing(bounded: Service) -> None:
    wait_for_one_minute()
    with bounded.suspended():
        asked = threading.Thread(target=_ask, args=(bounded,))
        asked.start()
        bounded.wait_for_queue()
        headers = {"x-forwarded-for": "192.0.2.6"}
        refused = httpx.post(
            f"{bounded.url}/v1/embeddings", json=BULK, headers=headers, timeout=120
        )
        assert_error(refused, 503, "SERVICE_UNAVAILABLE", "the queue is full")
        assert (left(refused, "tokens"), left(refused, "requests")) == (10_000_000, 10_000)
    asked.join()


def _ask(service: Service) -> None:
    assert service.embed(**BULK).status_code == 200


def test_what_is_given_back_after_its_minute_is_not_the_next_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # From the first second of a minute on, the clocks go by as much as is said here.
    ahead = 61 - time.time() % 60
    for clock in ("time", "monotonic"):
        read = getattr(time, clock)
        monkeypatch.setattr(time, clock, lambda read=read: read() + ahead)
    settings = Settings(max_requests_per_minute=10, max_tokens_per_minute=100)
    limits = limits_of(settings, Metrics("0", "model"))
    requests, tokens = limits.requests, limits.tokens
    assert requests
    assert tokens

    async def spend(budget: Budget, seconds: float) -> None:
        """What is refused so many seconds later."""
        nonlocal ahead
        await budget.admit()
        async with budget.spend(80):
            ahead += seconds
            raise UnavailableError("the queue is full.")

    async def refused_after(seconds: float) -> list[tuple[int, int]]:
        """What then counts for the minute before and for the current one, in each unit."""
        caller = f"asks {seconds}"
        with pytest.raises(UnavailableError):
            await spend(Budget(limits, caller, {}), seconds)
        windows = [await each.read(caller, {}) for each in (requests, tokens)]
        return [(window.before, window.current) for window in windows]

    assert asyncio.run(refused_after(1)) == [(0, 0), (0, 0)]
    assert asyncio.run(refused_after(60)) == [(1, 0), (80, 0)]


def test_several_processes_do_not_count_each_for_itself() -> None:
    class Several(Settings):
        http_processes: int = 2

    with pytest.raises(SettingsError, match="EMBED_REDIS_URL"):
        check_servable(Several(max_tokens_per_minute=1))
    check_servable(Several(max_tokens_per_minute=1, redis_url="redis://127.0.0.1"))
    check_servable(Several())


def test_an_address_of_redis_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError, match="must be like redis://host") as caught:
        store_of("http://:secret@host")
    assert "secret" not in str(caught.value)


def test_redis_without_its_package_is_refused() -> None:
    program = (
        "import sys; sys.modules['redis'] = None\n"
        "from app.access.store import store_of\n"
        "store_of('redis://127.0.0.1')"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "SettingsError: EMBED_REDIS_URL needs a package that is not installed" in done.stderr
    assert how_to_install("redis") in done.stderr
