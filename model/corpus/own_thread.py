"""OwnThread: a thread that loads a model and computes with it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class OwnThread:
    """Runs all that it is given on one thread. Ray makes an actor on one thread and calls it on
    another; CUDA graphs, the number of torch's threads and prepared kernels belong to a thread."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "device")

    def run(self, function: Callable[[], T]) -> T:
        """The function's result; what it raises is raised."""
        return self._pool.submit(function).result()
