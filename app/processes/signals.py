"""Signals: what SIGTERM and SIGINT do before the server takes care of them, and after.

Promise: from the first line of `serve` on, a signal ends the process with 0, without a trace. While
packages are imported and a checkpoint is fetched there is nothing to finish: the process ends on
the spot, which no library can catch or report, as it could an exception. The server's own handlers
(server.py) drain. Before the first line, while Python itself starts, the system ends the process as
it does any other.
"""

import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

# A terminal that is closed sends SIGHUP; who starts a process with `nohup` wants that ignored.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What shells give for a process that SIGINT has ended: 128 and its number.
INTERRUPTED = 128 + signal.SIGINT


def end_at_once(folder: Path | None = None) -> None:
    """From now on a signal ends this process on the spot; `folder` goes with it."""

    def end(_number: int, _frame: FrameType | None) -> None:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:
            signal.signal(number, end)


def end_as_interrupted() -> None:
    """From now on Ctrl-C ends this process on the spot, with a word and the shell's status: while
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
