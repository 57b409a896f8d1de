"""Place: which of a service's HTTP processes this one is, and what they share.

One process needs nothing to share. Several have a private folder: the table of queues, the sockets
on which workers listen, and the files of the metrics (prometheus_client's multiprocess mode).
"""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.engine.queues import Queues
from app.processes import signals
from app.settings import PREFIX, SettingsError

log = logging.getLogger("quintet")

# prometheus_client's own name for the folder of the metrics, and the one it had before.
_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_OLD_METRICS_FOLDER = "prometheus_multiproc_dir"
_METRICS = "metrics"
# Where the folder is made if not in TMPDIR.
_OTHERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  # nosec B108  (it is made private)
# A socket's path, with the zero behind it, is at most so long (unix(7): 108; elsewhere 104).
_LONGEST_PATH = 103


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

    def make_metrics_folder(self) -> None:
        """Make the folder of the metrics, if it is not there or was cleaned away."""
        assert self.folder is not None, "several processes have a folder"
        (self.folder / _METRICS).mkdir(exist_ok=True)

    def touch(self) -> None:
        """Show those who clean folders of temporary files by their age that this one is in use."""
        if self.folder is not None:
            for path in (self.folder, *self.folder.rglob("*")):
                with contextlib.suppress(OSError):  # cleaned away, or a process has just ended
                    os.utime(path)


@contextlib.contextmanager
def place_of(processes: int, workers: int) -> Iterator[Place]:
    """The first process' place, for as long as it lives.

    Must be entered before prometheus_client is imported, which looks at the environment then. What
    the environment says of another service's metrics is not for this one.

    Raises:
        SettingsError: several processes have no folder that they could share.
    """
    for name in (_METRICS_FOLDER, _OLD_METRICS_FOLDER):
        os.environ.pop(name, None)
    if processes == 1:
        yield Place()
        return
    folder = private_folder(_candidates(), workers)
    signals.end_at_once(folder)
    try:
        Queues.make_file(folder / "queues", processes, workers)
        os.environ[_METRICS_FOLDER] = str(folder / _METRICS)
        place = Place(folder=folder)
        place.make_metrics_folder()
        yield place
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def private_folder(parents: Sequence[str], workers: int) -> Path:
    """A new folder that only this user can enter, in the first of `parents` that can be written and
    in which the path of a socket is not too long.

    Raises:
        SettingsError: there is none; the sentence has the reason for each.
    """
    reasons = []
    for parent in parents:
        try:
            folder = Path(tempfile.mkdtemp(prefix="quintet-", dir=parent)).absolute()
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror}")
            continue
        longest = len(os.fsencode(folder / f"worker-{workers}"))
        if longest <= _LONGEST_PATH:
            if reasons:
                log.warning("%s; what HTTP processes share is in %s", "; ".join(reasons), folder)
            return folder
        folder.rmdir()
        reasons.append(f"{parent}: a socket's path has {longest} bytes, over {_LONGEST_PATH}")
    raise SettingsError(
        f"{PREFIX}HTTP_PROCESSES needs a folder for what the processes share, and there is none: "
        f"{'; '.join(reasons)}. Set TMPDIR to a folder that can be written and has a short name."
    )


def _candidates() -> list[str]:
    """Folders for temporary files, the preferred one first."""
    named = [value for name in ("TMPDIR", "TEMP", "TMP") if (value := os.environ.get(name))]
    return list(dict.fromkeys([*named, *_OTHERS]))
