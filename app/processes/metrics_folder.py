"""The folder in which several HTTP processes keep their metrics, so that each answers for all.

It is that of prometheus_client's multiprocess mode. A single HTTP process needs none.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.settings import PREFIX, SettingsError

log = logging.getLogger("quintet")

# prometheus_client's name for the folder, and the one it had before. It reads them when imported.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_OLD_VARIABLE = "prometheus_multiproc_dir"
# Cleaners of temporary files leave alone what is younger than some days.
_TOUCH_S = 3600.0
# Where the folder is made if not in TMPDIR.
_OTHERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  # nosec B108  (it is made private)


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
    folder = private_folder(_candidates())
    os.environ[VARIABLE] = str(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def private_folder(parents: Sequence[str]) -> Path:
    """A new folder that only this user can enter, in the first of `parents` that can be written.

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
        if reasons:
            log.warning("%s; the metrics of HTTP processes are in %s", "; ".join(reasons), folder)
        return folder
    raise SettingsError(
        f"{PREFIX}HTTP_PROCESSES needs a folder for the metrics of the processes, and there is "
        f"none: {'; '.join(reasons)}. Set TMPDIR to a folder that can be written."
    )


async def keep_in_use(folder: Path | None) -> None:
    """Show those who clean folders of temporary files by their age that it is in use."""
    while folder is not None:
        await asyncio.sleep(_TOUCH_S)
        with contextlib.suppress(OSError):  # cleaned away, or a process has just ended
            for path in (folder, *folder.iterdir()):  # noqa: ASYNC240  (a few files)
                os.utime(path)


def _candidates() -> list[str]:
    """Folders for temporary files, the preferred one first."""
    named = [value for name in ("TMPDIR", "TEMP", "TMP") if (value := os.environ.get(name))]
    return list(dict.fromkeys([*named, *_OTHERS]))
