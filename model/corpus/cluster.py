"""The Ray that computes: one of the run's own on this machine, or a cluster by its address."""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.data
import ray.exceptions

from model.corpus.errors import CorpusError
from model.corpus.filesystems import reason
from model.corpus.options import DeviceOptions, PartSize
from model.cpus import usable_cpus

# Bytes that parts on their way may take on this machine; a part takes at most some 20 million.
_OBJECT_STORE_BYTES = 2**30
# Of a part, some four to a token: a GPU takes a few seconds for it, a CPU half a minute
# with jina-embeddings-v3.
_GPU_CHARACTERS = 8_000_000
_CPU_CHARACTERS = 125_000
_PACKAGES = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Devices:
    """name: of the device, as an actor sees it. resources: what Ray keeps for each actor. least,
    most: actors with a model. tokenizers: the most actors that tokenise. threads: of an actor on a
    CPU. part: what each gets at once."""

    name: str
    resources: dict[str, float]
    least: int
    most: int
    tokenizers: int
    threads: int
    part: PartSize


@contextlib.contextmanager
def opened_cluster(options: DeviceOptions, *, progress: bool) -> Iterator[Devices]:
    """Connect to the cluster at the address, or start a Ray here; and leave, or end it.

    Raises:
        CorpusError: nobody answers there, it has no such devices, or work failed in it.
    """
    actors = options.actors or 1
    threads = options.threads or max(1, usable_cpus() // actors)
    _say_less()
    try:
        _open(options.address, cpus=usable_cpus() + actors * threads)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise CorpusError(f"cannot reach Ray at {options.address}: {error}") from None
    ray.data.DataContext.get_current().enable_progress_bars = progress
    try:
        yield _devices(options, threads)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, CorpusError):
            raise CorpusError(str(cause)) from None
        raise CorpusError(f"work failed in Ray: {type(cause).__name__}: {reason(cause)}") from error
    except ray.exceptions.RayError as error:
        raise CorpusError(f"Ray gave up: {error}") from error
    finally:
        ray.shutdown()


def _open(address: str | None, cpus: int) -> None:
    if address is not None:
        ray.init(address=address, log_to_driver=False)
        return
    # By default Ray reports its use over the internet, which nobody asked for.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # By default what computes gives way to all else, Ray's own processes among it (nice 15).
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Ray puts the current folder in front of its processes' paths, where any model.py would be
    # taken for this package.
    with contextlib.chdir(_PACKAGES):
        ray.init(
            address="local",
            num_cpus=cpus,
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="warning",
            _node_ip_address="127.0.0.1",
        )


def _say_less() -> None:
    """Keep Ray to its warnings, without the two that are no news here."""
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.WARNING)
            handler.addFilter(lambda record: "Progress bars disabled" not in record.getMessage())


def _devices(options: DeviceOptions, threads: int) -> Devices:
    """
    Raises:
        CorpusError: a GPU is asked for and there is none.
    """
    there: dict[str, Any] = ray.cluster_resources()
    gpus, cpus = int(there.get("GPU", 0)), int(there.get("CPU", 1))
    if options.device == "cuda" and not gpus and options.actors is None:
        raise CorpusError("Ray knows of no GPU; where nodes with some will be added, say --actors.")
    tokenizers = max(1, cpus // 2)
    if options.device == "cuda" or (options.device == "auto" and gpus):
        most = options.actors or gpus
        least, each = max(1, min(most, gpus)), {"num_cpus": 1.0, "num_gpus": 1.0}
        part = PartSize(options.part_texts, _GPU_CHARACTERS)
        return Devices("cuda:0", each, least, most, tokenizers, threads, part)
    most = options.actors or 1
    part = PartSize(options.part_texts, _CPU_CHARACTERS)
    return Devices("cpu", {"num_cpus": threads}, most, most, tokenizers, threads, part)
