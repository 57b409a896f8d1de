"""Opens the folder of batch jobs that the settings name."""

from pathlib import Path

from app.batches.files import Files
from app.batches.job_run import Shelf
from app.batches.jobs import Jobs
from app.batches.store import Store
from app.settings import Settings


def open_shelf(settings: Settings, folder: str) -> Shelf:
    """What there is in the folder.

    Raises:
        SettingsError: it cannot be used.
    """
    store = Store(Path(folder))
    files = Files(store, settings)
    return Shelf(store, files, Jobs(store, files, settings), settings)
