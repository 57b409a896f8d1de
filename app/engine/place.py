"""Place: which of a service's HTTP processes this one is, and what they share.

One process needs nothing to share. Several have a private folder: the table of queues, the sockets
on which workers listen, and the files of the metrics (prometheus_client's multiprocess mode).
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.engine.queues import Queues

_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own name


@dataclass(frozen=True, slots=True)
class Place:
    """Process number 0 is the first one, which starts the others and the workers."""

    process: int = 0
    folder: Path | None = None

    @property
    def first(self) -> bool:
        """Whether this process starts the others and the workers."""
        return self.process == 0

    def queues(self, workers: int) -> Queues:
        """The tokens that wait for each worker."""
        return Queues(workers, self.process, self.folder and self.folder / "queues")

    def listen(self, worker: int) -> str | None:
        """The path on which that worker lets further HTTP processes in."""
        return None if self.folder is None else str(self.folder / f"worker-{worker}")


@contextlib.contextmanager
def place_of(processes: int, workers: int) -> Iterator[Place]:
    """The first process' place, for as long as it lives.

    Must be entered before prometheus_client is imported, which looks at the environment then.
    """
    if processes == 1:
        yield Place()
        return
    with tempfile.TemporaryDirectory(prefix="quintet-") as name:
        place = Place(folder=Path(name))
        Queues.make_file(Path(name) / "queues", processes, workers)
        metrics = Path(name) / "metrics"
        metrics.mkdir()
        os.environ[_METRICS_FOLDER] = str(metrics)
        yield place
