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
from pathlib import Path
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGINT)


def end_at_once(folder: Path | None = None) -> None:
    """From now on a signal ends this process on the spot; `folder` goes with it."""

    def end(_number: int, _frame: FrameType | None) -> None:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    for number in ENDING:
        signal.signal(number, end)


def ignore() -> None:
    """From now on signals are for other processes, or come too late to change anything."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
