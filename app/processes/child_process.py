"""ChildProcess: starts a child of the parent, restarts it when it ends, and ends it.

It keeps promises 6 and 11 of ../engine/README.md. Each child has a control socket to the parent
(../engine/control.py); the end of its stream tells the child that the parent has gone.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import time
from typing import Protocol

from app.engine import control
from app.processes.spawn import start_module

log = logging.getLogger("quintet.engine")

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
# A child that has run this long has recovered: the next pause is short again.
_RECOVERED_S = 60.0


class Events(Protocol):
    """What the parent does when something happens to a child."""

    def begun(self, child: "ChildProcess", number: int) -> None: ...
    def received(self, child: "ChildProcess", message: control.FromChild) -> None: ...
    def ended(self, child: "ChildProcess", code: int) -> None: ...
    def cannot_start(self, child: "ChildProcess", reason: str) -> None: ...


class ChildProcess:
    """One child over all its starts."""

    def __init__(self, name: str, label: str, command: tuple[str, ...], events: Events) -> None:
        """`name` and `label` are what log lines call it: when it ends, and with its exit code.
        `command` is its module and what follows the control socket's descriptor as arguments."""
        self._name = name
        self.accepted_start = False
        """Whether it has loaded what it needs, and so may hold work to finish before it ends."""
        self.starts = 0
        self.process_id: int | None = None
        """Of its last start."""
        self._label = label
        self._command = command
        self._events = events
        self._stopped = asyncio.Event()  # it is not to be started again
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None
        self._end_timer: asyncio.TimerHandle | None = None

    async def supervise(self) -> None:
        """Start it, and start it again whenever it ends, until `finish` or `kill`. The pause
        before a start doubles while it keeps ending (back-off)."""
        pause_s = _FIRST_PAUSE_S
        for number in itertools.count():
            began = time.monotonic()
            reason = await self._run(number)
            if self._stopped.is_set():
                return
            if reason is not None and number == 0:
                self._events.cannot_start(self, reason)
                return
            if reason is not None:
                log.error("%s does not start: %s", self._name, reason)
            if time.monotonic() - began > _RECOVERED_S:
                pause_s = _FIRST_PAUSE_S
            log.error("%s ended; again in %.1f s", self._name, pause_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), pause_s)
                return
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def send(self, message: control.ToChild, *descriptors: int) -> bool:
        """Send a message, if it runs; whether that was possible."""
        if self._socket is None or self._process is None:
            return False
        try:
            control.ControlSocket(self._socket).send(message, descriptors)
        except BlockingIOError:
            log.error("%s takes no messages: it is killed", self._name)  # noqa: TRY400
            _kill(self._process)
            return False
        except OSError:  # it has just ended
            return False
        return True

    def finish(self, timeout_s: float) -> None:
        """Let it finish its work, or kill it where it has none yet; it is not started again. One
        that has not ended after `timeout_s` hangs, and is killed."""
        self._stopped.set()
        if self.accepted_start:
            self.send(control.Finish())
            loop = asyncio.get_running_loop()
            self._end_timer = loop.call_later(timeout_s, self._kill_hung, timeout_s)
        else:
            self.kill()

    def kill(self) -> None:
        """End it, whatever it does; it is not started again."""
        self._stopped.set()
        if self._process is not None:
            _kill(self._process)

    def _kill_hung(self, timeout_s: float) -> None:
        log.error("%s has not ended in %g s: it is killed", self._name, timeout_s)
        self.kill()

    async def _run(self, number: int) -> str | None:
        """From a start to its end; why it has not become ready, if so."""
        ours, theirs = socket.socketpair()
        with theirs:
            module, *arguments = self._command
            try:
                self._process = process = await start_module(
                    *(module, str(theirs.fileno()), *arguments),
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # a terminal's Ctrl-C is for the parent
                )
            except (OSError, RuntimeError) as error:  # no memory, or no more processes
                ours.close()
                return f"it cannot be started: {error}"
        self.process_id = process.pid
        if self._stopped.is_set():
            self.kill()
        reader, writer = await asyncio.open_connection(sock=ours)
        self._socket, reason = ours, None
        self._events.begun(self, number)
        while (message := await control.read_from_child(reader)) is not None:
            if isinstance(message, control.StartFailed):
                reason = message.reason
            else:
                self._events.received(self, message)
        self._socket = None
        writer.close()
        code = await process.wait()
        self._process = None
        if self._end_timer is not None:
            self._end_timer.cancel()
        self.starts = number + 1
        was_ready, self.accepted_start = self.accepted_start, False
        self._log_end(code)
        self._events.ended(self, code)
        return None if was_ready else reason or f"it exited with {code}."

    def _log_end(self, code: int) -> None:
        expected = code == 0 or (self._stopped.is_set() and code == -signal.SIGKILL)
        end = "was ended" if expected and code else f"exited with {code}"
        log.log(logging.INFO if expected else logging.ERROR, "%s %s", self._label, end)


def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill a process that may have ended. Its own `kill` would ask for its exit code first, and
    take it away from asyncio, for which the process is then an unknown one that ended with 255."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
