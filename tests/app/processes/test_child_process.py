"""A child that cannot be started, one that cannot follow its parent, and what one leaves behind."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.engine import control
from app.engine.control import ControlSocket
from app.engine.queue_table import make_table
from app.processes.child_process import ChildProcess
from app.processes.metrics_folder import remove_gauges
from model.spaces import Fingerprint
from tests.checkpoints import MINI
from tests.workers import receive_frame

STARTED = control.WorkerStarted("cpu", "float32", "sdpa", 1, 1, 0.1, 1, Fingerprint("", ()))


class FirstStart:
    """What the parent would hear of a child's first start."""

    reason = ""

    def cannot_start(self, _child: ChildProcess, reason: str) -> None:
        self.reason = reason

    def begun(self, child: ChildProcess, number: int) -> None: ...
    def received(self, child: ChildProcess, message: control.FromChild) -> None: ...
    def ended(self, child: ChildProcess, code: int) -> None: ...


def test_a_process_that_the_system_does_not_start_is_a_failed_start_of_that_child_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    heard = FirstStart()
    asyncio.run(ChildProcess("it", "it", ("app.engine.worker",), heard).supervise())
    assert heard.reason.startswith("it cannot be started: ")
    assert "/nowhere/python" in heard.reason


class KilledTwice(FirstStart):
    """A parent that kills a child, and again when that has ended and nobody has heard of it yet."""

    def __init__(self) -> None:
        self.codes: list[int] = []

    def begun(self, child: ChildProcess, _number: int) -> None:
        assert child.process_id is not None
        child.kill()
        with contextlib.suppress(ChildProcessError):  # asyncio's thread was faster
            os.waitid(os.P_PID, child.process_id, os.WEXITED | os.WNOWAIT)
        child.kill()

    def ended(self, _child: ChildProcess, code: int) -> None:
        self.codes.append(code)


def test_a_child_that_is_killed_twice_has_ended_by_the_signal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parent = KilledTwice()

    async def several() -> None:
        for _ in range(10):
            await ChildProcess("it", "it", ("app.engine.worker",), parent).supervise()

    with caplog.at_level(logging.WARNING):
        asyncio.run(several())
    assert parent.codes == [-signal.SIGKILL] * 10
    assert not caplog.records


def test_an_http_process_that_loses_a_workers_socket_exits_to_be_started_anew() -> None:
    """The kernel drops a descriptor where a process may open no more files."""
    ours, theirs = socket.socketpair()
    with ours, socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "app.processes.http_process", str(theirs.fileno()), "0"]
        with theirs:
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        parent = ControlSocket(ours)
        start = control.StartHttpProcess(str(MINI), restarted=False)
        parent.send(start, [listener.fileno(), make_table(1, 1)])
        assert receive_frame(ours), "it has built the application"
        parent.send(control.Serve())
        parent.send(control.LinkWorker(0, STARTED))
        assert process.wait(60) == 1


def test_the_live_gauges_of_a_process_that_has_ended_leave_the_sums(tmp_path: Path) -> None:
    gone = ["gauge_livesum_12.db", "gauge_livemax_12.db"]
    stay = ["counter_12.db", "gauge_livesum_123.db", "histogram_12.db"]
    for name in (*gone, *stay):
        (tmp_path / name).touch()
    remove_gauges(tmp_path, 12)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(stay)
