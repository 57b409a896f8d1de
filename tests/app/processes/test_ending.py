"""SIGTERM and SIGINT at any moment: it ends with 0, without a trace, and nothing is left behind."""

import concurrent.futures
import contextlib
import itertools
import os
import random
import signal
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.server import Service, start
from tests.waiting import wait_until

SIGNALS = [signal.SIGTERM, signal.SIGINT]
BOTH = pytest.mark.parametrize("number", SIGNALS)
MARK = "QUINTET_TEST"


@pytest.fixture(autouse=True)
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What every process of a test has in its environment; and a folder for what they share."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    folder = Path(tempfile.mkdtemp(prefix="q-"))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield mark
    left = [process for process in alive(mark) if process.pid != os.getpid()]
    for process in left:
        process.kill()
    files = list(folder.iterdir())
    for file in files:
        for each in sorted(file.rglob("*"), reverse=True):
            each.rmdir() if each.is_dir() else each.unlink()
        file.rmdir()
    folder.rmdir()
    assert not files, "what HTTP processes share is left behind"


def alive(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_ended(service: Service, mark: str) -> None:
    """With 0, without a trace, and with every process that belonged to it."""
    assert service.process.wait(60) == 0, service.log.text()
    left = [process for process in alive(mark) if process.pid != os.getpid()]
    assert not left, [process.cmdline() for process in left]
    text = service.log.text()
    assert "Traceback" not in text
    assert " ERROR " not in text, text


def await_handlers(service: Service) -> None:
    """Until the first line of `serve` has run. Before, the system ends the process as any other."""
    status = Path(f"/proc/{service.process.pid}/status")

    def caught() -> bool:
        (line,) = [each for each in status.read_text().splitlines() if each.startswith("SigCgt")]
        return bool(int(line.split()[1], 16) & (1 << (signal.SIGTERM - 1)))

    wait_until(caught, "the handlers of the service")


def await_closed_port(service: Service) -> None:
    def closed() -> bool:
        try:
            connect(service.url).close()
        except OSError:
            return True
        return False

    wait_until(closed, "a closed port")


def await_worker(service: Service) -> None:
    def starting() -> bool:
        assert service.process.poll() is None
        return bool(service.workers())

    wait_until(starting, "a worker that starts")


def send(service: Service, number: signal.Signals, *, group: bool) -> None:
    """To the parent, or to the whole group, as a terminal does."""
    if service.process.poll() is None:
        (os.killpg if group else os.kill)(service.process.pid, number)


def ended_or_serving(service: Service) -> bool:
    return service.process.poll() is not None or "serving" in service.log.text()


@pytest.mark.parametrize("processes", [1, 2])
@BOTH
def test_before_it_is_ready(number: signal.Signals, processes: int, mark: str) -> None:
    """At once, and at a moment drawn at random: imports, the checkpoint, the worker's start."""
    for after_s in (0, random.uniform(0.2, 3)):
        print(f"after {after_s:.2f} s")
        service = start(http_processes=processes, drain_delay_s=60)
        await_handlers(service)
        time.sleep(after_s)
        send(service, number, group=processes == 2)
        wait_until(partial(ended_or_serving, service), "its end, or that it serves")
        send(service, signal.SIGINT, group=False)  # it was quick: skip the delay
        assert_ended(service, mark)


@BOTH
def test_while_the_model_loads_signals_end_it_at_once(number: signal.Signals, mark: str) -> None:
    """Without the delay of a drain, since nobody was sent here yet."""
    service = start(drain_delay_s=600)
    await_worker(service)
    for _ in range(3):
        send(service, number, group=True)
    assert_ended(service, mark)


def test_when_the_model_is_loaded_after_the_port_has_closed(mark: str) -> None:
    """What was sent before holds the end back until then."""
    body = b'{"input": "a"}'
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    service = start(body_timeout_s=240)
    await_worker(service)
    (listening,) = psutil.Process(service.process.pid).net_connections()
    service.url = "http://{}:{}".format(*listening.laddr)
    with contextlib.ExitStack() as stack:
        asking = [stack.enter_context(connect(service.url)) for _ in range(100)]
        for each in asking:
            each.sendall(head + body[:1])
        (http_process,) = service.http_processes()
        wait_until(lambda: http_process.num_fds() > len(asking), "that they are let in")
        send(service, signal.SIGTERM, group=False)
        await_closed_port(service)
        statuses = []
        while not statuses or statuses[-1] == b"503":
            each = asking.pop()
            each.sendall(body[1:])
            statuses.append(each.recv(4096).split()[1])
            time.sleep(0.3)
    assert statuses[-1] == b"200", statuses
    assert len(statuses) > 1, "the model was loaded too early to see it"
    assert_ended(service, mark)


def connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)))


def test_while_a_killed_worker_comes_back_and_during_the_drain(mark: str) -> None:
    service = start(drain_delay_s=600)
    service.wait_until_ready()
    (worker,) = service.workers()
    worker.kill()
    service.log.wait_for("again in")
    await_worker(service)
    send(service, signal.SIGTERM, group=False)
    service.log.wait_for("draining")
    send(service, signal.SIGTERM, group=False)  # and no longer
    assert service.process.wait(60) == 0
    text = service.log.text()
    assert "Traceback" not in text
    assert len([line for line in text.splitlines() if " ERROR " in line]) == 2, "of the killed one"
    assert [process.pid for process in alive(mark)] in ([], [os.getpid()])


def test_a_third_signal_waits_for_nobody(mark: str) -> None:
    """Not even for a worker that stands still with a request, which is answered all the same."""
    service = start(drain_delay_s=600, http_processes=2)
    service.wait_until_ready()
    service.log.wait_for("HTTP process 1 serves")
    (worker,) = service.workers()
    worker.suspend()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(service.embed, input="never read")
        service.wait_for_queue()
        send(service, signal.SIGTERM, group=False)
        service.log.wait_for("draining")
        send(service, signal.SIGTERM, group=False)
        await_closed_port(service)
        assert not asked.done()
        send(service, signal.SIGTERM, group=False)
        assert asked.result().status_code == 503
    assert_ended(service, mark)


@pytest.mark.operations
@pytest.mark.timeout(600)
def test_at_twenty_moments_of_the_first_six_seconds(mark: str) -> None:
    """Each moment has one of the ways in which a signal comes, going round from a random one."""
    ways = list(itertools.product((signal.SIGTERM, signal.SIGINT), (False, True), (1, 2)))
    begun = random.randrange(len(ways))
    for moment in range(20):
        number, group, processes = ways[(begun + moment) % len(ways)]
        print(f"{moment * 0.3:.1f} s: {number.name}, {group=}, {processes=}")
        service = start(http_processes=processes, drain_delay_s=0.2)
        await_handlers(service)
        time.sleep(moment * 0.3)
        send(service, number, group=group)
        assert_ended(service, mark)
