"""QueueTable: how many tokens wait for each worker, as all HTTP processes see it.

It keeps promise 5 of README.md. A table of P processes, W workers and 2 lanes, in memory that they
share.
Each process writes one row and reads all: nothing is locked, and two requests that come in the
same microsecond to two processes may together pass a limit by the smaller one.
"""

import mmap
import os
import tempfile

_ENTRY_BYTES = 8  # a signed integer, "q"
_LANES = 2  # interactive, flex


def make_table(processes: int, workers: int) -> int:
    """The descriptor of a new table of zeros, which has no path and ends with its processes."""
    file = os.memfd_create("quintet-queues") if hasattr(os, "memfd_create") else _unlinked_file()
    os.truncate(file, _ENTRY_BYTES * processes * workers * _LANES)
    return file


def _unlinked_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class QueueTable:
    """One process' view of the table."""

    def __init__(self, file: int, workers: int, process: int = 0) -> None:
        """`file` is the descriptor of the table."""
        self._waiting = memoryview(mmap.mmap(file, 0)).cast("q")
        self._width = workers * _LANES
        self._process = process

    def tokens(self, worker: int, *, flex: bool = False) -> int:
        """The tokens that wait for that worker in one lane, from all processes."""
        return sum(self._waiting[worker * _LANES + flex :: self._width])

    def add(self, worker: int, tokens: int, *, flex: bool = False) -> None:
        """So many tokens more of this process wait for that worker in one lane."""
        self._waiting[self._process * self._width + worker * _LANES + flex] += tokens

    def clear(self, process: int) -> None:
        """That process has ended, and what it held with it."""
        for entry in range(self._width):
            self._waiting[process * self._width + entry] = 0
