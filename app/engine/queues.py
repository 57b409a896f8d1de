"""Queues: how many tokens wait for each worker, as all HTTP processes see it.

A table of P processes and W workers, in memory that they share. Each process writes its own row and
reads all: nothing is locked, and two requests that come in the same microsecond to two processes
may together pass a bound by the smaller one.
"""

import mmap
from pathlib import Path

import numpy as np


class Queues:
    """One process' view of the table."""

    def __init__(self, workers: int, process: int = 0, file: Path | None = None) -> None:
        """`file` holds the table of several processes, see `make_file`; None is a table of one."""
        if file is None:
            self._waiting = np.zeros((1, workers), np.int64)
        else:
            with file.open("r+b") as opened:
                shared = mmap.mmap(opened.fileno(), 0)
            self._waiting = np.frombuffer(shared, np.int64).reshape(-1, workers)
        self._process = process

    @staticmethod
    def make_file(file: Path, processes: int, workers: int) -> None:
        """A table of zeros."""
        file.write_bytes(bytes(8 * processes * workers))

    def tokens(self, worker: int) -> int:
        """The tokens that wait for that worker, from all processes."""
        return int(self._waiting[:, worker].sum())

    def add(self, worker: int, tokens: int) -> None:
        """So many tokens more of this process wait for that worker."""
        self._waiting[self._process, worker] += tokens

    def clear(self, process: int) -> None:
        """That process has ended, and what it held with it."""
        self._waiting[process] = 0
