"""The engine's promises on a running service: load, hang-ups, a full queue, signals, kills."""

import asyncio
import concurrent.futures
import random
import signal
import socket
import threading
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest

from model.embedder import Embedder
from tests.checkpoints import TASKS
from tests.server import Service, running
from tests.waiting import wait_until

BULK = {"input": [f"number {index} of many short texts" for index in range(2048)]}
# Some 40 tokens each: in the engine's small batches they take seconds.
LONGER_BULK = {"input": [f"{text}, {'word ' * 30}" for text in BULK["input"]]}
WORDS = ["alpha", "beta", "gamma", "Hautpflege", "新しい", "maquillage", "winter", "tax", "bread"]


def single_text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 20)))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_16_clients_with_random_tasks_get_the_vector_the_text_gets_alone(
    service: Service, quintet: Embedder
) -> None:
    """Single short texts, 20 of each: only 200s, and each answer is its own caller's."""
    seed = random.randrange(2**32)
    print(f"random seed: {seed}")
    answers: list[tuple[str, str, list[float]]] = []

    async def client(number: int) -> None:
        rng = random.Random(seed + number)
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as http:
            for _ in range(20):
                text, task = single_text(rng), rng.choice(list(TASKS))
                response = await http.post("/v1/embeddings", json={"input": text, "task": task})
                assert response.status_code == 200, response.text
                answers.append((text, task, response.json()["data"][0]["embedding"]))

    async def all_clients() -> None:
        await asyncio.gather(*(client(number) for number in range(16)))

    asyncio.run(all_clients())
    assert len(answers) == 16 * 20
    assert {task for _, task, _ in answers} == set(TASKS)
    # Some of them, drawn at random, are embedded again one at a time.
    for text, task, found in random.Random(seed).sample(answers, min(200, len(answers))):
        expected = quintet.embed_texts([text], task)[0]
        assert cosine(np.array(found), expected) >= 0.9995, (text, task)


def test_2048_inputs_do_not_delay_anothers_single_queries_beyond_two_batches() -> None:
    # Batches that take long beside a hop over HTTP, so that counting them counts the delay.
    with (
        running(max_batch_tokens=512) as service,
        concurrent.futures.ThreadPoolExecutor() as pool,
        service.client() as client,
    ):
        bulk = pool.submit(service.embed, **BULK)
        first_batch_done(service)
        for number in range(5):
            before = service.metric("batch_rows_count", client)
            single = client.post("/v1/embeddings", json={"input": f"a single query, the {number}."})
            assert single.status_code == 200
            # The running, the prepared and its own batch; two may pass around the two scrapes.
            assert service.metric("batch_rows_count", client) - before <= 5
        assert not bulk.done()
        assert len(bulk.result().json()["data"]) == 2048


def first_batch_done(service: Service, before: float = 0) -> None:
    """Wait until the engine has run a batch beside the `before` first ones."""
    wait_until(lambda: service.metric("batch_rows_count") > before, "a batch")


def send_and_keep_open(
    service: Service, body: bytes, request_id: str, path: str = "/v1/embeddings"
) -> socket.socket:
    host, port = service.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        f"x-request-id: {request_id}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def test_a_caller_who_hangs_up_costs_nothing_more(engine: Service) -> None:
    body = httpx.Request("POST", "http://x", json=LONGER_BULK).content
    batches = engine.metric("batch_rows_count")
    connection = send_and_keep_open(engine, body, "gone")
    first_batch_done(engine, batches)
    connection.close()
    engine.log.wait_for(r"POST /v1/embeddings 499 .*request_id=gone")
    assert engine.metric("queue_tokens") == 0
    before = engine.metric("batch_rows_sum")
    for _ in range(3):
        assert engine.embed(input="x").status_code == 200
    # Three rows of ours; the rows of the one or two batches that ran when it was cancelled.
    assert engine.metric("batch_rows_sum") - before <= 3 + 2 * 4


def test_a_full_queue_refuses_at_once_and_the_service_stays_responsive(engine: Service) -> None:
    refusals = engine.metric("refused_total")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with engine.suspended():
            bulk = pool.submit(engine.embed, **LONGER_BULK)
            engine.wait_for_queue()
            refused = engine.embed(input=["word " * 500] * 80)
            assert refused.status_code == 503
            assert 1 <= int(refused.headers["retry-after"]) <= 120
            assert refused.headers["x-should-retry"] == "true"
            assert refused.json()["code"] == "SERVICE_UNAVAILABLE"
            assert "of 100000 tokens wait, and this request has 40160" in refused.json()["detail"]
            assert httpx.get(f"{engine.url}/ready").status_code == 200
            assert not bulk.done()
        assert engine.embed(input="a small one still fits").status_code == 200
        assert engine.metric("refused_total") == refusals + 1
        assert bulk.result().status_code == 200
    # What could never fit is the caller's mistake, not a reason to retry.
    never = engine.embed(input=["word " * 500] * 240)
    assert (never.status_code, never.json()["code"]) == (400, "INPUT_TOKEN_LIMIT_EXCEEDED")
    assert "retry-after" not in never.headers


def test_a_request_that_waits_too_long_is_answered_504(impatient: Service) -> None:
    with impatient.suspended():
        late = impatient.embed(**BULK)
        assert (late.status_code, late.json()["code"]) == (504, "SERVICE_TIMEOUT")
        assert impatient.metric("queue_tokens") == 0
    assert impatient.embed(input="x").status_code == 200


def test_sigterm_under_load_loses_no_accepted_request(original: Path) -> None:
    """Clients send until the port is closed; whatever a connection took is answered."""
    with running(model=original, cpu_threads=1, drain_delay_s=1) as service:
        outcomes: Counter[object] = Counter()
        draining = threading.Event()

        def client(number: int) -> None:
            rng = random.Random(number)
            with service.client() as http:
                while True:
                    try:
                        body = {"input": [single_text(rng) for _ in range(rng.choice([1, 1, 60]))]}
                        response = http.post("/v1/embeddings", json=body)
                    except httpx.ConnectError:
                        outcomes["port closed"] += 1
                        return
                    outcomes[response.status_code] += 1
                    if draining.is_set():
                        outcomes["close" if response.headers.get("connection") else "keep"] += 1

        threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        first_batch_done(service)
        service.process.send_signal(signal.SIGTERM)
        service.log.wait_for("draining")
        draining.set()
        assert httpx.get(f"{service.url}/ready").json() == {"status": "draining"}
        assert httpx.get(f"{service.url}/live").status_code == 200
        for thread in threads:
            thread.join(60)
        assert service.process.wait(60) == 0
        assert set(outcomes) - {"close", "keep"} == {200, "port closed"}
        assert outcomes["port closed"] == 8
        assert outcomes["close"] > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_that_is_running_when_the_port_closes_is_answered(
    original: Path, number: signal.Signals
) -> None:
    with (
        running(model=original, cpu_threads=1, max_batch_tokens=128) as service,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        bulk = pool.submit(service.embed, **LONGER_BULK)
        first_batch_done(service)
        assert service.stop(number) == 0
        assert len(bulk.result().json()["data"]) == 2048


def test_a_killed_worker_is_started_again_and_what_it_held_is_answered(engine: Service) -> None:
    batches, restarts = engine.metric("batch_rows_count"), engine.metric("worker_restarts_total")
    starts = engine.log.count("serving +http")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        bulk = pool.submit(engine.embed, **LONGER_BULK)
        first_batch_done(engine, batches)
        (worker,) = engine.workers()
        worker.kill()
        lost = bulk.result()
    assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")
    assert lost.json()["detail"] == "the worker ended while it held the request."
    assert httpx.get(f"{engine.url}/live").status_code == 200
    engine.log.wait_for("serving +http", count=starts + 1)
    assert httpx.get(f"{engine.url}/ready").status_code == 200
    assert engine.embed(input="x").status_code == 200
    assert engine.metric("worker_restarts_total") == restarts + 1


def test_with_two_workers_one_may_die_and_the_other_goes_on(original: Path) -> None:
    with running(model=original, devices="cpu,cpu") as service:
        service.log.wait_for("serving +http", count=2)
        assert service.metric("workers_ready") == 2
        one, other = service.workers()
        one.kill()
        service.log.wait_for("a worker exited with -9")
        assert httpx.get(f"{service.url}/ready").status_code == 200
        assert service.embed(input="x").status_code == 200
        service.log.wait_for("serving +http", count=3)
        assert service.metric("workers_ready") == 2
        assert other.is_running()


def test_a_killed_service_leaves_no_worker_behind(original: Path) -> None:
    with running(model=original, cpu_threads=1) as service:
        (worker,) = service.workers()
        service.process.kill()
        service.process.wait(60)
        assert worker.wait(60) in (0, None)
