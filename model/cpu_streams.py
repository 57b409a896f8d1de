"""CPU streams: threads that compute several batches at once on a CPU, each with its share of cores.

Threads that compute one batch together wait for each other after every product, so that whatever
else takes one core for a moment stops all of them. Batches beside each other do not wait: on two
cores 1.1 times as fast, and 1.3 times where another process takes .3 of a core
(tests/bench/README.md).
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

# From eight threads on a stream has several: each stream reads all weights and has activations.
_STREAMS = 4


class CpuStreams:
    """So many threads, started at first use, each with the same number of torch's threads."""

    def __init__(self, threads: int) -> None:
        """`threads` are those of all streams together."""
        self._threads = threads
        self._each = max(1, threads // _STREAMS)
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return self._threads // self._each

    def map(self, compute: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results in order; what `compute` raises is raised."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(
                len(self), "stream", torch.set_num_threads, (self._each,)
            )
        try:
            yield from self._pool.map(compute, items)
        finally:
            # A thread that torch sees for the first time takes the number that was set last.
            torch.set_num_threads(self._threads)
