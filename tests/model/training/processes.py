"""Runs the command in another process, which can be killed at any point."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from tests.model.training.records import train

KILLS = 3
# Runs a command that writes to a folder: exit status (negative: the signal), touches.
Command = Callable[..., tuple[int | None, int]]


def run_until_killed(out: Path, arguments: list[object], last: float, counted: Connection) -> None:
    """Run the command until it opens or renames the `last`-th file in its folder, then SIGKILL.

    An audit hook sees each of these; between two of them nothing on the disk changes.
    """
    touched = 0

    def count(event: str, about: tuple[object, ...]) -> None:
        nonlocal touched
        if event in ("open", "os.rename") and str(about[0]).startswith(str(out)):
            touched += 1
            if touched >= last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    status = train(*arguments, "--out", out)
    counted.send(touched)
    sys.exit(status)


def command() -> Command:
    """Starts such processes."""
    context = multiprocessing.get_context("forkserver")
    # Imports take seconds; the server has them, and each run is a fork of it.
    context.set_forkserver_preload([__name__, "model.training.command"])

    def run(
        out: Path, arguments: list[object], last: float = float("inf")
    ) -> tuple[int | None, int]:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=run_until_killed, args=(out, arguments, last, sender))
        process.start()
        sender.close()
        process.join()
        return process.exitcode, receiver.recv() if process.exitcode == 0 else 0

    return run
