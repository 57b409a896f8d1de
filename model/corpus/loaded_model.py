"""LoadedModel: a model on a thread of its own, in a process that Ray has started."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from model.memory import keep_fewer_shapes, keep_freed_memory

if TYPE_CHECKING:
    from model.embedder import Embedder

T = TypeVar("T")


class LoadedModel:
    """Loads a model, and computes with it on one thread. Ray makes an actor on one thread and calls
    it on another; CUDA graphs, the number of torch's threads and prepared kernels belong to a
    thread."""

    def __init__(self, load: "Callable[[], Embedder]") -> None:
        """`load` imports torch. What it raises is raised."""
        keep_fewer_shapes()
        keep_freed_memory()
        self._pool = ThreadPoolExecutor(1, "device")
        self._quintet = self._pool.submit(lambda: _warm(load())).result()
        self.dtype = self._quintet.dtype

    def run(self, work: "Callable[[Embedder], T]") -> T:
        """The result of `work` with the model; what it raises is raised."""
        return self._pool.submit(work, self._quintet).result()


def _warm(loaded: "Embedder") -> "Embedder":
    loaded.warm_up()
    return loaded
