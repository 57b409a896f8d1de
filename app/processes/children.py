"""What the settings mean for children: how many HTTP processes there are, what workers are told."""

from pathlib import Path

from app.engine.control import StartWorker
from app.settings import Settings
from model.cpus import usable_cpus
from model.spaces import Fingerprint

# For the short queries or the bulk that one GPU computes: tests/bench/README.md has the figures.
_HTTP_PROCESSES_OF_A_GPU = 8


def http_processes(settings: Settings) -> int:
    """How many HTTP processes there are.

    Unset is one beside a CPU, which they would take cores from, and where they would each count
    limits for themselves. For each GPU that is named there are up to eight, if there are cores for
    them beside one for each worker.
    """
    if settings.http_processes is not None:
        return settings.http_processes
    gpus = sum(device.startswith("cuda") for device in settings.devices)
    if not gpus or (settings.has_limits and not settings.redis_url):
        return 1
    return max(1, min(_HTTP_PROCESSES_OF_A_GPU * gpus, usable_cpus() - len(settings.devices)))


def start_of_worker(
    settings: Settings, folder: Path, device: str, fingerprint: Fingerprint | None = None
) -> StartWorker:
    """The message to a worker on that device. `folder` has the checkpoint, of that fingerprint if a
    worker has loaded it before."""
    return StartWorker(
        folder=str(folder),
        device=device,
        dtype=settings.dtype,
        max_batch_tokens=settings.max_batch_tokens,
        log_format=settings.log_format,
        threads=_worker_threads(settings),
        adapters=settings.adapters,
        flex_share=settings.flex_share,
        fingerprint=fingerprint,
    )


def _worker_threads(settings: Settings) -> int | None:
    """How many threads a worker on a CPU computes with; None for all cores that it may use.

    Workers that share a CPU share its cores out: threads that wait for a core that another one has
    are slower than fewer threads.
    """
    on_cpu = sum(device == "cpu" for device in settings.devices)
    shared = max(1, usable_cpus() // on_cpu) if on_cpu > 1 else None
    return settings.cpu_threads or shared
