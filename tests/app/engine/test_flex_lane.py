"""The flex lane on a running service: its own queue and bound, its share, its metrics."""

import concurrent.futures
import re
from pathlib import Path

import httpx
import pytest

from app.access.keyfile import add_key
from tests.app.engine.test_promises import LONGER_BULK, first_batch_done
from tests.server import Service, bearer, running
from tests.waiting import wait_for_one_minute

FLEX = {"service_tier": "flex"}


def by_lane(service: Service, series: str) -> dict[str, float]:
    """The sum of a series in each lane."""
    text = httpx.get(f"{service.url}/metrics", timeout=60).text
    found: dict[str, float] = {}
    pattern = rf'^quintet_{series}{{.*\blane="(\w+)".*}} (\S+)$'
    for lane, value in re.findall(pattern, text, re.MULTILINE):
        found[lane] = found.get(lane, 0.0) + float(value)
    return found


def test_flex_is_refused_first_and_what_fills_its_queue_refuses_nobody_else(
    engine: Service,
) -> None:
    """Its bound is half of the other one, 100,000 tokens."""
    limits = by_lane(engine, "queue_tokens_limit")
    assert limits == {"interactive": 100_000, "flex": 50_000}
    texts = {"input": ["word " * 500] * 60}  # 30,120 tokens
    refused = by_reason(engine)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with engine.suspended():
            bulk = pool.submit(engine.embed, **texts, **FLEX)
            engine.wait_for_queue(60)
            late = engine.embed(**texts, **FLEX)
            assert late.status_code == 503
            assert 1 <= int(late.headers["retry-after"]) <= 120
            assert late.headers["x-should-retry"] == "true"
            assert "the flex queue is full: 30120 of 50000 tokens wait" in late.json()["detail"]
            interactive = [pool.submit(engine.embed, **texts) for _ in range(3)]
            engine.wait_for_queue(4 * 60)
            assert by_lane(engine, "queue_tokens") == {"interactive": 90_360, "flex": 30_120}
        assert {each.result().status_code for each in (bulk, *interactive)} == {200}
    assert by_lane(engine, "queue_tokens") == {"interactive": 0, "flex": 0}
    now = by_reason(engine)
    assert now.pop("flex queue full") == refused.pop("flex queue full") + 1
    assert now == refused
    never = engine.embed(input=["word " * 500] * 100, **FLEX)
    assert (never.status_code, never.json()["code"]) == (400, "INPUT_TOKEN_LIMIT_EXCEEDED")
    assert "at most 50000 can wait" in never.json()["detail"]


def by_reason(service: Service) -> dict[str, float]:
    text = httpx.get(f"{service.url}/metrics", timeout=60).text
    found = re.findall(r'^quintet_refused_total{reason="([\w ]+)"} (\S+)$', text, re.MULTILINE)
    return {reason: float(count) for reason, count in found}


@pytest.mark.parametrize("later", [{}, FLEX])
def test_bulk_goes_before_flex_that_came_first_and_flex_gets_its_share(
    engine: Service, later: dict[str, str]
) -> None:
    """The control: what comes later in the same lane waits for half of each batch."""
    before, batches = by_lane(engine, "lane_tokens_total"), engine.metric("batch_rows_count")
    bulk = {"input": LONGER_BULK["input"][:500]}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with engine.suspended():
            first = pool.submit(engine.embed, **bulk, **FLEX)
            engine.wait_for_queue(500)
            second = pool.submit(engine.embed, **bulk, **later)
            engine.wait_for_queue(1000)
        first_batch_done(engine, batches)
        assert second.result().status_code == 200
        after = by_lane(engine, "lane_tokens_total")
        gone = {lane: after[lane] - before[lane] for lane in after}
        if later:
            assert first.result(1).status_code == 200
        else:
            # What a batch may have beside is 128 tokens; some 35 of them are left by rows of 45.
            assert 0.09 <= gone["flex"] / sum(gone.values()) <= 0.45
            assert not first.done()
        assert first.result().status_code == 200


def test_the_log_and_the_metrics_know_the_lane(engine: Service) -> None:
    before = by_lane(engine, "request_seconds_count")
    queued = stage_count(engine, "flex_queue")
    assert engine.embed(input="x", **FLEX).status_code == 200
    engine.log.wait_for("POST /v1/embeddings 200 .*service_tier=flex")
    assert engine.post("/v1/documents", input="x", **FLEX).status_code == 200
    assert by_lane(engine, "request_seconds_count")["flex"] == before.get("flex", 0) + 2
    assert stage_count(engine, "flex_queue") == queued + 2


def stage_count(service: Service, stage: str) -> float:
    text = httpx.get(f"{service.url}/metrics", timeout=60).text
    pattern = rf'^quintet_stage_seconds_count{{stage="{stage}"}} (\S+)$'
    return float(re.findall(pattern, text, re.MULTILINE)[0])


def test_flex_waits_as_long_as_others_and_is_then_answered_504(impatient: Service) -> None:
    with impatient.suspended():
        late = impatient.embed(input=["late"] * 100, **FLEX)
        assert (late.status_code, late.json()["code"]) == (504, "SERVICE_TIMEOUT")
        assert sum(by_lane(impatient, "queue_tokens").values()) == 0
    assert impatient.embed(input="x", **FLEX).status_code == 200


def test_flex_counts_towards_the_callers_limits(original: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "bulk")
    limited = {"keys_file": tmp_path / "keys", "max_tokens_per_minute": 1000}
    with (
        running(model=original, cpu_threads=1, **limited) as service,
        service.client(headers=bearer(key)) as client,
    ):
        wait_for_one_minute()
        first = client.post("/v1/embeddings", json={"input": "word " * 900, **FLEX})
        assert first.status_code == 200
        left = int(first.headers["x-ratelimit-remaining-tokens"])
        assert left == 1000 - first.json()["usage"]["total_tokens"]
        over = client.post("/v1/embeddings", json={"input": "word " * 900})
        assert (over.status_code, over.json()["code"]) == (429, "RATE_TOKEN_LIMIT_EXCEEDED")
