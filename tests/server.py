"""A real service in a process of its own, as `make serve` starts it."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import psutil

from tests.waiting import wait_until

_START_S = 60
_END_S = 60


class LogLines:
    """The service's log, line by line; waiting for a line is waiting for an event."""

    def __init__(self, stream: Any) -> None:
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: Any) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self._lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, pattern: str, timeout_s: float = _START_S, count: int = 1) -> re.Match[str]:
        """The `count`th line that has the pattern."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._matches(pattern)) >= count or self._ended, timeout_s
            )
            matches = self._matches(pattern)
            assert len(matches) >= count, f"no {pattern!r} in:\n{self.text()}"
            return matches[count - 1]

    def _matches(self, pattern: str) -> list[re.Match[str]]:
        return [match for line in self._lines if (match := re.search(pattern, line))]

    def count(self, pattern: str) -> int:
        """How many lines so far have the pattern."""
        with self._changed:
            return len(self._matches(pattern))

    def text(self) -> str:
        """All lines so far."""
        return "\n".join(self._lines)


class Service:
    """A running service."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log = LogLines(process.stderr)
        self.url = ""

    def wait_until_ready(self, timeout_s: float = _START_S) -> None:
        self.url = self.log.wait_for(r'serving +(http://[^\s"]+)', timeout_s).group(1)

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=120, **options)

    def embed(self, **body: Any) -> httpx.Response:
        """One embeddings request over a connection of its own."""
        return self.post("/v1/embeddings", **body)

    def post(self, path: str, **body: Any) -> httpx.Response:
        """The same for another path."""
        return httpx.post(self.url + path, json=body, timeout=120)

    def metric(self, name: str, client: httpx.Client | None = None) -> float:
        """The sum of a series over its labels; over a client's open connection where time counts,
        since a new one takes some 20 ms to set up."""
        get = httpx.get if client is None else client.get
        text = get(f"{self.url}/metrics", timeout=120).text
        values = re.findall(rf"^quintet_{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        assert values, f"no series {name}"
        return sum(map(float, values))

    @contextmanager
    def suspended(self) -> Iterator[psutil.Process]:
        """The only worker stands still for as long as the block lasts: what is asked waits."""
        (worker,) = self.workers()
        worker.suspend()
        try:
            yield worker
        finally:
            if worker.is_running():
                worker.resume()

    def wait_for_queue(self, rows: int = 1) -> None:
        """Wait until that many rows or more are accepted and not answered."""
        wait_until(lambda: self.metric("queue_rows") >= rows, f"{rows} rows in the queue")

    def workers(self) -> list[psutil.Process]:
        return self._children("app.engine.worker")

    def http_processes(self) -> list[psutil.Process]:
        """By number, which is their last argument."""
        found = self._children("app.processes.http_process")
        return sorted(found, key=lambda process: int(process.cmdline()[-1]))

    def _children(self, module: str) -> list[psutil.Process]:
        """What the parent has started and runs."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):  # it has just ended
                if module in child.cmdline():
                    found.append(child)
        return found

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Signal the service and wait for its end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(_END_S)


def start(listener: socket.socket | None = None, **settings: object) -> Service:
    """Start `quintet serve` with EMBED_* settings, on a free port or on a bound socket."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("EMBED_")
    }
    own = {"port": 0, "drain_delay_s": 0, **settings}
    if "PYTEST_XDIST_WORKER" in os.environ:  # see conftest.py
        own.setdefault("cpu_threads", 1)
    environment.update({f"EMBED_{name.upper()}": str(value) for name, value in own.items()})
    inherited = [] if listener is None else [listener.fileno()]
    arguments = [word for fd in inherited for word in ("--fd", str(fd))]
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve", *arguments],
        env=environment,
        pass_fds=inherited,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a signal to its group is for the service alone
    )
    return Service(process)


def bearer(key: str) -> dict[str, str]:
    """The header of a request with a key."""
    return {"authorization": f"Bearer {key}"}


@contextmanager
def running(**settings: object) -> Iterator[Service]:
    """A ready service, ended when the block is left."""
    service = start(**settings)
    try:
        service.wait_until_ready()
        yield service
    finally:
        if service.process.poll() is None:
            service.process.send_signal(signal.SIGINT)
        try:
            service.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            service.process.kill()
            raise
        print(service.log.text()[-4000:])
