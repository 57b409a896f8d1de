"""Handlers for SIGTERM, SIGINT and SIGHUP during start-up and shutdown.

It keeps promise 10 of ../engine/README.md: from the first line of `serve` on, a signal ends the
process with 0, without a trace. While packages are imported and a checkpoint is fetched there is
nothing to finish: the process ends at once, which no library can catch or report, as it could an
exception. Once there are children the parent handles signals itself (parent.py). Before the first
line, while Python itself starts, the system ends the process as it does any other.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

# A terminal that is closed sends SIGHUP; who starts a process with `nohup` wants that ignored.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What shells give for a process that SIGINT has ended: 128 and its number.
INTERRUPTED = 128 + signal.SIGINT


def handle(handler: Callable[[int, FrameType | None], None]) -> None:
    """Call that for each signal that asks the process to end."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:
            signal.signal(number, handler)


def end_at_once() -> None:
    """From now on a signal ends this process at once, with 0."""
    handle(lambda _number, _frame: os._exit(0))


def end_as_interrupted() -> None:
    """From now on Ctrl-C ends this process at once, with a sentence and the shell's status: while
    packages are imported, an exception is caught or reported by whichever of them is at work."""

    def end(_number: int, _frame: FrameType | None) -> None:
        os.write(sys.stderr.fileno(), b"interrupted\n")
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, end)


def raise_interrupts() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt: there is something to finish or to say."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def ignore() -> None:
    """From now on signals are for other processes, or come too late to change anything."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
