"""The folder in which several HTTP processes keep their metrics, so that each answers for all.

It is that of prometheus_client's multiprocess mode. A single HTTP process needs none.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.settings import PREFIX, SettingsError

# prometheus_client's name for the folder, and the one it had before. It reads them when imported.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_OLD_VARIABLE = "prometheus_multiproc_dir"
_IN_MEMORY = "/dev/shm"  # noqa: S108  # nosec B108
# Cleaners of temporary files leave alone what is younger than some days.
_TOUCH_S = 3600.0


@contextlib.contextmanager
def metrics_folder(processes: int) -> Iterator[Path | None]:
    """The folder, named in the environment of processes that are started; None for one process.

    What the environment says of another service's folder is not for this one.

    Raises:
        SettingsError: no folder can be made.
    """
    for name in (VARIABLE, _OLD_VARIABLE):
        os.environ.pop(name, None)
    if processes == 1:
        yield None
        return
    folder = _private_folder()
    os.environ[VARIABLE] = str(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _private_folder() -> Path:
    """A new folder that only this user can enter: in TMPDIR or a system's usual place, or in
    memory, where a container has no other place that can be written."""
    try:
        return Path(tempfile.mkdtemp(prefix="quintet-"))
    except OSError as error:
        with contextlib.suppress(OSError):
            return Path(tempfile.mkdtemp(prefix="quintet-", dir=_IN_MEMORY))
        raise SettingsError(
            f"{PREFIX}HTTP_PROCESSES needs a folder for the metrics of the processes: "
            f"{error.strerror}. Set TMPDIR to a folder that can be written."
        ) from None


def remove_gauges(folder: Path | None, process: int | None) -> None:
    """Take a process that has ended out of the sums: what prometheus_client's `mark_process_dead`
    does, without importing it."""
    for file in folder.glob(f"gauge_live*_{process}.db") if folder else ():
        file.unlink(missing_ok=True)


async def keep_in_use(folder: Path | None) -> None:
    """Show those who clean folders of temporary files by their age that it is in use."""
    while folder is not None:
        await asyncio.sleep(_TOUCH_S)
        with contextlib.suppress(OSError):  # cleaned away, or a process has just ended
            for path in (folder, *folder.iterdir()):  # noqa: ASYNC240  (a few files)
                os.utime(path)
