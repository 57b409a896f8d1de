"""Several HTTP processes: one port, one queue, one set of metrics, one life."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from app.engine.queues import Queues
from tests.server import Service, running

PROCESSES = 3


def http_processes(service: Service) -> list[psutil.Process]:
    """The first one, then the others by number."""
    children = psutil.Process(service.process.pid).children()
    others = [child for child in children if "app.processes.http_process" in child.cmdline()]
    others.sort(key=lambda process: process.cmdline()[5])
    return [psutil.Process(service.process.pid), *others]


@contextmanager
def only(process: psutil.Process, service: Service) -> Iterator[None]:
    """The others stand still, so that new connections go to this one."""
    others = [other for other in http_processes(service) if other != process]
    for other in others:
        other.suspend()
    try:
        yield
    finally:
        for other in others:
            other.resume()


def serving(service: Service, life: int = 1) -> None:
    """Wait until all processes serve."""
    for number in range(1, PROCESSES):
        service.log.wait_for(rf"HTTP process {number} serves", count=life if number == 1 else 1)


@pytest.fixture(scope="module")
def service(original: Path) -> Iterator[Service]:
    bounds = {"max_batch_tokens": 256, "max_queue_tokens": 40_000}
    with running(model=original, cpu_threads=1, http_processes=PROCESSES, **bounds) as service:
        serving(service)
        yield service


def test_each_process_answers_and_any_of_them_knows_what_all_have_done(service: Service) -> None:
    service.embed(input="the first one")
    before = service.metric("requests_total"), service.metric("batch_rows_count")
    tokens, vectors = service.metric("tokens_total"), []
    for process in http_processes(service):
        with only(process, service):
            answer = service.embed(input="Guten Morgen!", task="separation")
            vectors.append(answer.json()["data"][0]["embedding"])
            tokens += answer.json()["usage"]["total_tokens"]
    np.testing.assert_allclose(vectors[1:], [vectors[0]] * (PROCESSES - 1), atol=1e-6)
    for process in http_processes(service):
        with only(process, service):
            assert service.metric("tokens_total") == tokens
            assert service.metric("batch_rows_count") == before[1] + PROCESSES
            assert service.metric("workers_ready") == service.metric("workers") == 1
            assert service.metric("queue_tokens") == service.metric("queue_rows") == 0
            assert httpx.get(f"{service.url}/ready").status_code == 200
    assert service.metric("requests_total") > before[0] + PROCESSES


def test_a_process_that_is_killed_starts_again(service: Service) -> None:
    victim = http_processes(service)[1]
    starts = service.log.count("HTTP process 1 serves")
    victim.kill()
    service.log.wait_for("HTTP process 1 serves", count=starts + 1)
    successor = http_processes(service)[1]
    assert successor.pid != victim.pid
    with only(successor, service):
        assert service.embed(input="again").status_code == 200
    assert service.metric("queue_tokens") == 0


def test_a_worker_that_is_killed_comes_back_for_all_of_them(service: Service) -> None:
    (worker,) = service.workers()
    links = service.log.count("linked to worker 0")
    worker.kill()
    service.log.wait_for("a worker exited with -9")
    service.log.wait_for("linked to worker 0", count=links + PROCESSES - 1)
    for process in http_processes(service):
        with only(process, service):
            assert service.embed(input="back").status_code == 200


def test_a_worker_that_hangs_is_noticed_by_the_process_that_waits_for_it(original: Path) -> None:
    """The first one, whose child the worker is, has no job there."""
    with running(model=original, cpu_threads=1, http_processes=2, batch_timeout_s=1) as service:
        service.log.wait_for("HTTP process 1 serves")
        answers: list[httpx.Response] = []
        (worker,) = service.workers()
        worker.suspend()
        with only(http_processes(service)[1], service):
            asking = ask_bulk(service, ["a", "b"], answers)
        asking.join()
        assert (answers[0].status_code, answers[0].headers["retry-after"]) == (503, "1")
        service.log.wait_for("a worker exited with -9")
        service.log.wait_for("linked to worker 0", count=2)
        for process in http_processes(service):
            with only(process, service):
                assert service.embed(input="back").status_code == 200


def ask_bulk(service: Service, texts: list[str], answers: list[httpx.Response]) -> threading.Thread:
    """Send a request whose tokens are in the queue when this returns."""

    def ask() -> None:
        with contextlib.suppress(httpx.TransportError):
            answers.append(service.embed(input=texts))

    held = service.metric("queue_rows")
    thread = threading.Thread(target=ask)
    thread.start()
    while service.metric("queue_rows") < held + len(texts):
        pass
    return thread


def test_the_bound_of_the_queue_is_one_for_all_and_the_dead_hold_nothing(service: Service) -> None:
    first, second = http_processes(service)[:2]
    starts = service.log.count("HTTP process 1 serves")
    answers: list[httpx.Response] = []
    large = ["f g h i j " * 400] * 15
    with service.suspended():
        with only(second, service):
            bulk = ask_bulk(service, ["a b c d e"] * 2000, answers)
        with only(first, service):
            refused = service.embed(input=large)
        assert refused.status_code == 503
        assert "tokens wait" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) >= 1
        second.kill()
    service.log.wait_for("HTTP process 1 serves", count=starts + 1)
    bulk.join()
    assert not answers, "its process is gone"
    with only(first, service):
        assert service.embed(input=large).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_ends_all_of_them_and_what_was_accepted_is_answered(
    original: Path, number: signal.Signals
) -> None:
    with running(model=original, cpu_threads=1, http_processes=2, drain_delay_s=0.2) as service:
        service.log.wait_for("HTTP process 1 serves")
        processes = http_processes(service)
        (worker,) = service.workers()
        answers: list[httpx.Response] = []
        asking = []
        worker.suspend()
        for rows, process in enumerate(processes, start=100):
            with only(process, service):
                asking.append(ask_bulk(service, ["one"] * rows, answers))
        service.process.send_signal(number)
        worker.resume()
        for thread in asking:
            thread.join()
        assert service.process.wait(60) == 0
        assert "Traceback" not in service.log.text()
        assert sorted(len(answer.json()["data"]) for answer in answers) == [100, 101]
        _, alive = psutil.wait_procs([*processes[1:], worker], timeout=30)
        assert not alive


def test_none_outlives_the_first_one(original: Path) -> None:
    with running(model=original, cpu_threads=1, http_processes=2) as service:
        service.log.wait_for("HTTP process 1 serves")
        family = [*http_processes(service)[1:], *service.workers()]
        os.kill(service.process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive


def test_queues_of_two_processes_are_one_table(tmp_path) -> None:
    Queues.make_file(tmp_path / "queues", processes=2, workers=3)
    one, other = (Queues(3, process, tmp_path / "queues") for process in range(2))
    one.add(2, 10)
    other.add(2, 5)
    other.add(0, 7)
    assert [one.tokens(worker) for worker in range(3)] == [7, 0, 15]
    one.clear(1)
    assert [other.tokens(worker) for worker in range(3)] == [0, 0, 10]
