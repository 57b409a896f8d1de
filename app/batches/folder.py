"""The folder of batch jobs that the settings name, and what is in it."""

from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from app.batches.files import Files
from app.batches.jobs import Jobs
from app.batches.store import Store
from app.settings import Settings
from app.telemetry.metrics import BatchJobMetrics


@dataclass(frozen=True, slots=True)
class Shelf:
    """What there is: the store, its files and its jobs, and what counts them."""

    store: Store
    files: Files
    jobs: Jobs
    settings: Settings
    metrics: BatchJobMetrics


def open_shelf(settings: Settings, folder: str, registry: CollectorRegistry) -> Shelf:
    """What there is in the folder; its series are in that registry.

    Raises:
        SettingsError: it cannot be used.
    """
    store = Store(Path(folder))
    files = Files(store, settings)
    metrics = BatchJobMetrics(registry)
    metrics.data_bytes_limit.set(settings.max_data_bytes)
    return Shelf(store, files, Jobs(store, files, settings), settings, metrics)
