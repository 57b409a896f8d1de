"""Every Prometheus series, with its buckets and why.

HTTP processes own them all: a worker reports each batch over its channel. Several HTTP processes
write theirs into files of a folder they share, and whoever is asked adds them up.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

log = logging.getLogger("quintet")

# From a cached single query on a GPU to a bulk request on a CPU.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
# One forward pass, from a short query on a GPU up.
_FORWARD_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Powers of four up to the largest batch of a GPU.
_BATCH_TOKENS = (16, 64, 256, 1024, 2048, 4096, 16384, 32768, 65536)
# The stages of a request, in the order of its way; parse and encode of a query take microseconds.
STAGES = ("parse", "tokenise", "queue", "forward", "encode")
_STAGE_SECONDS = (0.0001, 0.0005, *_FORWARD_SECONDS, 30, 60)
_FILL = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
_BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

REFUSALS = (
    "not ready",
    "queue full",
    "bodies full",
    "no key",
    "wrong key",
    "foreign host",
    "foreign origin",
    "requests per minute",
    "tokens per minute",
    "invalid HTTP",
    "headers too slow",
    "headers too large",
    "too many connections",
)


class Metrics:
    """The series of one process, in a registry of their own, all named quintet_*."""

    def __init__(self, version: str, model: str, tasks: Sequence[str]) -> None:
        """Series with labels known beforehand start at zero, so that their first step shows."""
        self.registry = CollectorRegistry()
        self._gone = False  # the files of several processes, and that has been said
        self.requests = self._counter("requests", "HTTP requests answered.", "route", "status")
        self.request_seconds = self._histogram(
            "request_seconds", "From a request's headers to its answer's end.", _SECONDS, "route"
        )
        self.stage_seconds = self._histogram(
            "stage_seconds", "Where a request's time goes.", _STAGE_SECONDS, "stage"
        )
        for stage in STAGES:
            self.stage_seconds.labels(stage)
        self.tokens = self._counter("tokens", "Tokens charged.", "task")
        for task in (*tasks, "none"):
            self.tokens.labels(task)
        self.documents = self._counter("documents", "Documents that were cut into chunks.")
        self.chunks = self._counter("chunks", "Chunks that documents were cut into.")
        self.refused = self._counter("refused", "Requests that were not taken on.", "reason")
        for reason in REFUSALS:
            self.refused.labels(reason)
        # A key is known by its name here; the key itself is never a label.
        self.key_requests = self._counter("key_requests", "Requests with a known key.", "key")
        self.key_tokens = self._counter("key_tokens", "Tokens charged to a key.", "key")
        self.unlimited = self._counter(
            "unlimited_requests", "Requests let through because Redis did not answer."
        )
        self.queue_tokens = self._gauge(
            "queue_tokens", "Tokens accepted and not answered yet.", mode="livesum"
        )
        self.queue_rows = self._gauge(
            "queue_rows", "Rows accepted and not answered yet.", mode="livesum"
        )
        self.body_bytes = self._gauge(
            "body_bytes", "Bytes of bodies under way, past 64 KiB of each.", mode="livesum"
        )
        self.queue_tokens_limit = self._gauge(
            "queue_tokens_limit", "Tokens that may wait; past it requests are refused."
        )
        self.batch_tokens = self._histogram(
            "batch_tokens", "Tokens of a forward pass.", _BATCH_TOKENS
        )
        self.batch_rows = self._histogram("batch_rows", "Rows of a forward pass.", _BATCH_ROWS)
        self.batch_jobs = self._histogram(
            "batch_requests", "Requests whose rows a forward pass mixed.", _BATCH_ROWS
        )
        self.batch_fill_ratio = self._histogram(
            "batch_fill_ratio", "Tokens of a forward pass / the most it may have.", _FILL
        )
        self.workers = self._gauge("workers", "Workers there should be.")
        self.workers_ready = self._gauge("workers_ready", "Workers with a model loaded.")
        self.worker_restarts = self._counter("worker_restarts", "Workers started again.")
        self._gauge("build_info", "Always 1.", "version", "model").labels(version, model).set(1)

    def exposition(self) -> bytes:
        """All series of all HTTP processes in Prometheus' text format.

        If somebody has removed the folder of their files, those of this process.
        """
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return generate_latest(self.registry)
        if not any(Path(folder).glob(f"*_{os.getpid()}.db")):
            if not self._gone:
                log.error(
                    "the files in %s are gone: /metrics has the numbers of the process that is "
                    "asked, not the sum of all, until the service is started again",
                    folder,
                )
            self._gone = True
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        multiprocess.MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, namespace="quintet", registry=self.registry)

    def _gauge(
        self,
        name: str,
        meaning: str,
        *labels: str,
        mode: Literal["livemax", "livesum"] = "livemax",
    ) -> Gauge:
        """`mode` is how the values of several HTTP processes become one."""
        return Gauge(
            name,
            meaning,
            labels,
            namespace="quintet",
            registry=self.registry,
            multiprocess_mode=mode,
        )

    def _histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            name, meaning, labels, namespace="quintet", registry=self.registry, buckets=buckets
        )
