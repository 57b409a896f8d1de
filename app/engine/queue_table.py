"""QueueTable: how many tokens wait for each worker, as all HTTP processes see it.

It keeps promise 5 of README.md. A table of P processes and W workers, in memory that they share.
Each process writes one row and reads all: nothing is locked, and two requests that come in the same
microsecond to two processes may together pass a limit by the smaller one.
"""

import mmap
import os
import tempfile

_ENTRY_BYTES = 8  # a signed integer, "q"


def make_table(processes: int, workers: int) -> int:
    """The descriptor of a new table of zeros, which has no path and ends with its processes."""
    file = os.memfd_create("quintet-queues") if hasattr(os, "memfd_create") else _unlinked_file()
    os.truncate(file, _ENTRY_BYTES * processes * workers)
    return file


def _unlinked_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class QueueTable:
    """One process' view of the table."""

    def __init__(self, file: int, workers: int, process: int = 0) -> None:
        """`file` is the descriptor of the table."""
        self._waiting = memoryview(mmap.mmap(file, 0)).cast("q")
        self._workers = workers
        self._process = process

    def tokens(self, worker: int) -> int:
        """The tokens that wait for that worker, from all processes."""
        return sum(self._waiting[worker :: self._workers])

    def add(self, worker: int, tokens: int) -> None:
        """So many tokens more of this process wait for that worker."""
        self._waiting[self._process * self._workers + worker] += tokens

    def clear(self, process: int) -> None:
        """That process has ended, and what it held with it."""
        for worker in range(self._workers):
            self._waiting[process * self._workers + worker] = 0
