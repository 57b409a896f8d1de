"""Several HTTP processes: one port, one queue, one set of metrics, one life."""

import contextlib
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from app.engine.queue_table import QueueTable, make_table
from tests.server import Service, running, start
from tests.waiting import wait_until

PROCESSES = 3


@contextmanager
def only(process: psutil.Process, service: Service) -> Iterator[None]:
    """The others stand still, so that new connections go to this one."""
    others = [other for other in service.http_processes() if other != process]
    for other in others:
        other.suspend()
    try:
        yield
    finally:
        for other in others:
            other.resume()


@pytest.fixture(scope="module")
def service(original: Path) -> Iterator[Service]:
    bounds = {"max_batch_tokens": 256, "max_queue_tokens": 40_000, "cache_bytes": 0}
    with running(model=original, cpu_threads=1, http_processes=PROCESSES, **bounds) as service:
        yield service


def test_each_process_answers_and_any_of_them_knows_what_all_have_done(service: Service) -> None:
    service.embed(input="the first one")
    before = service.metric("requests_total"), service.metric("batch_rows_count")
    tokens, vectors = service.metric("tokens_total"), []
    for process in service.http_processes():
        with only(process, service):
            answer = service.embed(input="Guten Morgen!", task="separation")
            vectors.append(answer.json()["data"][0]["embedding"])
            tokens += answer.json()["usage"]["total_tokens"]
    np.testing.assert_allclose(vectors[1:], [vectors[0]] * (PROCESSES - 1), atol=1e-6)
    for process in service.http_processes():
        with only(process, service):
            assert service.metric("tokens_total") == tokens
            assert service.metric("batch_rows_count") == before[1] + PROCESSES
            assert service.metric("workers_ready") == service.metric("workers") == 1
            assert service.metric("queue_tokens") == service.metric("queue_rows") == 0
            assert httpx.get(f"{service.url}/ready").status_code == 200
    assert service.metric("requests_total") > before[0] + PROCESSES


def test_a_process_that_is_killed_starts_again(service: Service) -> None:
    victim = service.http_processes()[1]
    starts = service.log.count("HTTP process 1 serves")
    victim.kill()
    service.log.wait_for("HTTP process 1 serves", count=starts + 1)
    successor = service.http_processes()[1]
    assert successor.pid != victim.pid
    with only(successor, service):
        assert service.embed(input="again").status_code == 200
    assert service.metric("queue_tokens") == 0


def test_a_worker_that_is_killed_comes_back_for_all_of_them(service: Service) -> None:
    (worker,) = service.workers()
    links = service.log.count("linked to worker 0")
    worker.kill()
    service.log.wait_for("a worker exited with -9")
    service.log.wait_for("linked to worker 0", count=links + PROCESSES)
    for process in service.http_processes():
        with only(process, service):
            assert service.embed(input="back").status_code == 200


def test_a_worker_that_hangs_is_noticed_by_the_process_that_waits_for_it(original: Path) -> None:
    """The other one has no job there."""
    with running(model=original, cpu_threads=1, http_processes=2, batch_timeout_s=1) as service:
        answers: list[httpx.Response] = []
        (worker,) = service.workers()
        worker.suspend()
        with only(service.http_processes()[1], service):
            asking = ask_bulk(service, ["a", "b"], answers)
        asking.join()
        assert (answers[0].status_code, answers[0].headers["retry-after"]) == (503, "1")
        service.log.wait_for("a worker exited with -9")
        service.log.wait_for("linked to worker 0", count=4)
        for process in service.http_processes():
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
    service.wait_for_queue(int(held) + len(texts))
    return thread


def test_the_bound_of_the_queue_is_one_for_all_and_the_dead_hold_nothing(service: Service) -> None:
    first, second = service.http_processes()[:2]
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
        processes = service.http_processes()
        (worker,) = service.workers()
        answers: list[httpx.Response] = []
        asking = []
        worker.suspend()
        for rows, process in enumerate(processes, start=100):
            with only(process, service):
                asking.append(ask_bulk(service, [f"the {n}." for n in range(rows)], answers))
        service.process.send_signal(number)
        worker.resume()
        for thread in asking:
            thread.join()
        assert service.process.wait(60) == 0
        assert "Traceback" not in service.log.text()
        assert sorted(len(answer.json()["data"]) for answer in answers) == [100, 101]
        _, alive = psutil.wait_procs([*processes, worker], timeout=30)
        assert not alive


def test_the_only_http_process_comes_back_while_the_port_stays_open(original: Path) -> None:
    """Under load: who connects while there is none waits, and is answered."""
    with running(model=original, cpu_threads=1) as service:
        (victim,) = service.http_processes()
        statuses: Counter[object] = Counter()
        end = threading.Event()

        def ask() -> None:
            while not end.is_set():
                try:
                    statuses[service.embed(input="a b c").status_code] += 1
                except httpx.ConnectError:
                    statuses["refused"] += 1
                except httpx.TransportError:  # was connected to the one that was killed
                    statuses["cut off"] += 1

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: statuses[200] >= 4, "answers")
        victim.kill()
        service.log.wait_for("HTTP process 0 exited with -9")
        service.log.wait_for("HTTP process 0 serves")
        answered = statuses[200]
        wait_until(lambda: statuses[200] > answered + 4, "answers of its successor")
        end.set()
        for thread in threads:
            thread.join()
        assert set(statuses) <= {200, "cut off"}
        assert statuses["cut off"] <= len(threads)
        assert service.metric("workers_ready") == service.metric("workers") == 1
        assert service.log.count("serving +http") == 1, "its worker has not been restarted"


def test_a_worker_and_the_http_process_may_end_at_the_same_time(original: Path) -> None:
    """Whichever is ready first waits for the other one."""
    with running(model=original, cpu_threads=1) as service:
        for order in (1, -1):
            links = service.log.count("HTTP process 0 is linked to worker 0")
            for victim in [*service.workers(), *service.http_processes()][::order]:
                victim.kill()
            service.log.wait_for("HTTP process 0 is linked to worker 0", count=links + 1)
            assert service.embed(input="back").status_code == 200
        assert service.metric("worker_restarts_total") >= 1


@pytest.mark.parametrize("processes", [1, 2])
def test_none_outlives_the_parent(original: Path, processes: int) -> None:
    with running(model=original, cpu_threads=1, http_processes=processes) as service:
        children = [*service.http_processes(), *service.workers()]
        assert len(children) == processes + 1
        os.kill(service.process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive


def test_an_application_that_cannot_be_built_ends_the_service_with_the_reason() -> None:
    service = start(keys_file="/nowhere/at/all/keys", http_processes=2)
    assert service.process.wait(60) == 1
    service.log.wait_for("cannot start: EMBED_KEYS_FILE: ")
    assert service.log.count("cannot start") == 1
    assert "Traceback" not in service.log.text()


def test_a_model_that_cannot_be_loaded_ends_the_service_with_the_reason() -> None:
    service = start(devices="cuda:99", http_processes=2)
    assert service.process.wait(60) == 1
    service.log.wait_for(r"cannot start: cuda:99 .* \(EMBED_DEVICES\)")
    assert " ERROR " in service.log.text()
    assert "Traceback" not in service.log.text()


def test_the_queue_table_of_two_processes_is_one() -> None:
    file = make_table(processes=2, workers=3)
    one, other = (QueueTable(file, 3, process) for process in range(2))
    one.add(2, 10)
    other.add(2, 5)
    other.add(0, 7)
    one.add(2, 3, flex=True)
    other.add(1, 4, flex=True)
    assert [one.tokens(worker) for worker in range(3)] == [7, 0, 15]
    assert [other.tokens(worker, flex=True) for worker in range(3)] == [0, 4, 3]
    one.clear(1)
    assert [other.tokens(worker) for worker in range(3)] == [0, 0, 10]
    assert [one.tokens(worker, flex=True) for worker in range(3)] == [0, 0, 3]
