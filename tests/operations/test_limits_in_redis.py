"""Limits that replicas count together, in a real Redis that comes and goes."""

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.app.answers import assert_error
from tests.operations.redis import RedisServer
from tests.server import running
from tests.waiting import wait_until

pytestmark = pytest.mark.operations


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.stop()


def left(answer: httpx.Response, what: str) -> int:
    return int(answer.headers[f"x-ratelimit-remaining-{what}"])


def test_two_replicas_count_together_to_the_last_token(redis: RedisServer) -> None:
    limits = {"max_requests_per_minute": 40, "max_tokens_per_minute": 60, "redis_url": redis.url}
    with running(**limits) as one, running(**limits) as other:
        # 3 tokens a request: the tokens of 20 requests.
        services = [one, other] * 25
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda service: service.embed(input="x"), services))
        statuses = [answer.status_code for answer in answers]
        assert answers[0].json().get("usage", {"total_tokens": 3})["total_tokens"] == 3
        assert statuses.count(200) == 20
        assert statuses.count(429) == 30
        for service in (one, other):
            refused = service.embed(input="x")
            assert_error(refused, 429, "RATE_TOKEN_LIMIT_EXCEEDED", "tokens per minute")
            # Exactly what was answered is charged, and of what was refused nothing.
            assert (left(refused, "requests"), left(refused, "tokens")) == (20, 0)


def test_a_refusal_comes_and_goes(redis: RedisServer) -> None:
    with running(max_requests_per_minute=4, redis_url=redis.url) as service:
        assert [service.embed(input="x").status_code for _ in range(5)] == [200] * 4 + [429]
        (key,) = redis.client.keys("quintet:*")
        # As Redis sees it, the minute has just ended: three of the four requests still count.
        redis.client.pexpire(key, 59_900)
        assert [service.embed(input="x").status_code for _ in range(2)] == [200, 429]
        # Half a minute later: one of them does, and the one of this minute.
        redis.client.pexpire(f"{key}/-1", 29_000)
        answer = service.embed(input="x")
        assert (answer.status_code, left(answer, "requests")) == (200, 1)


def test_limits_rest_while_redis_is_away(redis: RedisServer) -> None:
    with running(max_requests_per_minute=3, redis_url=redis.url) as service:
        assert [service.embed(input="x").status_code for _ in range(4)] == [200, 200, 200, 429]
        redis.kill()
        answers = [service.embed(input="x") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 5
        assert not any("x-ratelimit-limit-requests" in answer.headers for answer in answers)
        service.log.wait_for("Redis does not answer; nobody is limited until it does")
        assert service.log.text().count("Redis does not answer") == 1
        assert service.metric("unlimited_requests_total") == 5
        redis.start()
        limited = "x-ratelimit-limit-requests"
        wait_until(lambda: limited in service.embed(input="x").headers, "Redis is asked again")
        service.log.wait_for("Redis answers again")
        wait_until(lambda: service.embed(input="x").status_code == 429, "the limit is reached")
        assert redis.url not in service.log.text()


def test_a_service_starts_without_its_redis(redis: RedisServer) -> None:
    redis.kill()
    with running(max_requests_per_minute=1, redis_url=redis.url) as service:
        assert [service.embed(input="x").status_code for _ in range(3)] == [200] * 3
    redis.start()
