"""Every Prometheus series, with its buckets and why.

HTTP processes have them all: a worker reports each batch to one of them. Several HTTP processes
write theirs into files of a folder they share, and the one that is asked adds them up.
"""

import logging
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from app.errors import every_error

log = logging.getLogger("quintet")

# From a cached single query on a GPU to a bulk request on a CPU.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
# One forward pass, from a short query on a GPU up.
_FORWARD_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Powers of four up to the largest batch of a GPU.
_BATCH_TOKENS = (16, 64, 256, 1024, 2048, 4096, 16384, 32768, 65536)
# The stages of a request, in the order of its way; parse and encode of a query take microseconds.
STAGES = ("parse", "tokenise", "queue", "flex_queue", "forward", "encode")
# Where requests wait: those of the service tier flex, and all others.
LANES = ("interactive", "flex")
# Out of a forward pass; equal to one that was in flight; computed before.
ROW_SOURCES = ("computed", "shared", "cached")
_STAGE_SECONDS = (0.0001, 0.0005, *_FORWARD_SECONDS, 30, 60)
_FILL = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
_BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

# Reasons under which refused requests are counted.
REFUSAL_REASONS = tuple(dict.fromkeys(error.reason for error in every_error() if error.reason))


class Metrics:
    """The series of one process, in a registry of its own, all named quintet_*."""

    def __init__(self, version: str, model: str, tasks: Sequence[str]) -> None:
        """Series whose labels are known start at zero, so that their first step shows."""
        self.registry = CollectorRegistry()
        self._files_missing = False
        counter = partial(Counter, namespace="quintet", registry=self.registry)
        histogram = partial(Histogram, namespace="quintet", registry=self.registry)
        gauge = partial(
            Gauge, namespace="quintet", registry=self.registry, multiprocess_mode="livemax"
        )
        # Several HTTP processes: of these gauges the sum is shown, of the others the largest.
        summed_gauge = partial(gauge, multiprocess_mode="livesum")

        self.requests = counter("requests", "HTTP requests answered.", ["route", "status"])
        self.request_seconds = histogram(
            "request_seconds",
            "From a request's headers to its answer's end.",
            ["route", "lane"],
            buckets=_SECONDS,
        )
        self.stage_seconds = histogram(
            "stage_seconds", "Where a request's time goes.", ["stage"], buckets=_STAGE_SECONDS
        )
        self.tokens = counter("tokens", "Tokens charged.", ["task"])
        self.documents = counter("documents", "Documents that were cut into chunks.")
        self.chunks = counter("chunks", "Chunks that documents were cut into.")
        self.refused = counter("refused", "Requests that were not taken on.", ["reason"])
        # The label is the name of a key, never the key itself.
        self.key_requests = counter("key_requests", "Requests with a known key.", ["key"])
        self.key_tokens = counter("key_tokens", "Tokens charged to a key.", ["key"])
        self.unlimited = counter(
            "unlimited_requests", "Requests let through because Redis did not answer."
        )
        self.queue_tokens = summed_gauge(
            "queue_tokens", "Tokens accepted and not answered yet.", ["lane"]
        )
        self.queue_rows = summed_gauge(
            "queue_rows", "Rows accepted and not answered yet.", ["lane"]
        )
        self.lane_tokens = counter("lane_tokens", "Tokens of forward passes, by lane.", ["lane"])
        self.rows = counter("rows", "Rows by where their vectors came from.", ["source"])
        self.cache_bytes = summed_gauge("cache_bytes", "Bytes of vectors that are kept.")
        self.body_bytes = summed_gauge(
            "body_bytes", "Bytes of bodies under way, past 64 KiB of each."
        )
        self.queue_tokens_limit = gauge(
            "queue_tokens_limit", "Tokens that may wait; past it requests are refused.", ["lane"]
        )
        self.batch_tokens = histogram(
            "batch_tokens", "Tokens of a forward pass.", buckets=_BATCH_TOKENS
        )
        self.batch_rows = histogram("batch_rows", "Rows of a forward pass.", buckets=_BATCH_ROWS)
        self.batch_jobs = histogram(
            "batch_requests", "Requests whose rows a forward pass mixed.", buckets=_BATCH_ROWS
        )
        self.batch_fill_ratio = histogram(
            "batch_fill_ratio", "Tokens of a forward pass / the most it may have.", buckets=_FILL
        )
        self.workers = gauge("workers", "Workers there should be.")
        self.workers_ready = gauge("workers_ready", "Workers with a model loaded.")
        self.worker_restarts = counter("worker_restarts", "Workers started again.")
        gauge("build_info", "Always 1.", ["version", "model"]).labels(version, model).set(1)

        for series, labels in (
            (self.stage_seconds, STAGES),
            (self.tokens, (*tasks, "none")),
            (self.rows, ROW_SOURCES),
            (self.refused, REFUSAL_REASONS),
            *((series, LANES) for series in (self.queue_tokens, self.queue_rows, self.lane_tokens)),
        ):
            for label in labels:
                series.labels(label)

    def exposition(self) -> bytes:
        """All series of all HTTP processes in Prometheus' text format.

        Those of this process alone, where its file is not in their folder any more.
        """
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return generate_latest(self.registry)
        if not any(Path(folder).glob(f"*_{os.getpid()}.db")):
            if not self._files_missing:
                log.error(
                    "the files in %s are gone: /metrics has the numbers of the process that is "
                    "asked, not the sum of all, until the service is started again",
                    folder,
                )
            self._files_missing = True
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        multiprocess.MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)
