"""Every Prometheus series, with its buckets and why.

HTTP processes have them all: a worker reports each batch to one of them. Several HTTP processes
write theirs into files of a folder they share, and the one that is asked adds them up.
"""

import logging
import os
from collections.abc import Iterable, Sequence
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
from prometheus_client.metrics import MetricWrapperBase

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
# What batch jobs that have not ended are at: queued behind others, waiting for room, or what their
# status says.
JOB_STATES = ("queued", "validating", "in_progress", "waiting", "finalizing", "cancelling")
JOB_OUTCOMES = ("completed", "failed", "expired", "cancelled")
LINE_OUTCOMES = ("completed", "failed")

# Reasons under which refused requests are counted.
REFUSAL_REASONS = tuple(dict.fromkeys(error.reason for error in every_error() if error.reason))


class _Series:
    """Makes the series of a registry, all named quintet_*."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.counter = partial(Counter, namespace="quintet", registry=registry)
        self.histogram = partial(Histogram, namespace="quintet", registry=registry)
        self.gauge = partial(
            Gauge, namespace="quintet", registry=registry, multiprocess_mode="livemax"
        )
        # Several HTTP processes: of these gauges the sum is shown, of the others the largest.
        self.summed_gauge = partial(self.gauge, multiprocess_mode="livesum")


def _begin(*series: tuple[MetricWrapperBase, Iterable[str]]) -> None:
    """Series whose labels are known start at zero, so that their first step shows."""
    for each, labels in series:
        for label in labels:
            each.labels(label)


class Metrics:
    """The series of a process that answers requests, whatever it serves, in a registry of its
    own."""

    def __init__(self, version: str, model: str) -> None:
        self.registry = CollectorRegistry()
        self._files_missing = False
        make = _Series(self.registry)
        self.requests = make.counter("requests", "HTTP requests answered.", ["route", "status"])
        self.request_seconds = make.histogram(
            "request_seconds",
            "From a request's headers to its answer's end.",
            ["route", "lane"],
            buckets=_SECONDS,
        )
        self.refused = make.counter("refused", "Requests that were not taken on.", ["reason"])
        self.dropped_answers = make.counter(
            "dropped_answers",
            "Answers whose callers hung up or did not read on before their end.",
        )
        # The label is the name of a key, never the key itself.
        self.key_requests = make.counter("key_requests", "Requests with a known key.", ["key"])
        self.key_tokens = make.counter("key_tokens", "Tokens charged to a key.", ["key"])
        self.unlimited = make.counter(
            "unlimited_requests", "Requests let through because Redis did not answer."
        )
        self.body_bytes = make.summed_gauge(
            "body_bytes", "Bytes of bodies under way, past 64 KiB of each."
        )
        make.gauge("build_info", "Always 1.", ["version", "model"]).labels(version, model).set(1)
        _begin((self.refused, REFUSAL_REASONS))

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


class ServiceMetrics(Metrics):
    """The same where texts are embedded."""

    def __init__(self, version: str, model: str, tasks: Sequence[str]) -> None:
        super().__init__(version, model)
        make = _Series(self.registry)
        self.stage_seconds = make.histogram(
            "stage_seconds", "Where a request's time goes.", ["stage"], buckets=_STAGE_SECONDS
        )
        self.tokens = make.counter("tokens", "Tokens charged.", ["task"])
        self.documents = make.counter("documents", "Documents that were cut into chunks.")
        self.chunks = make.counter("chunks", "Chunks that documents were cut into.")
        self.queue_tokens = make.summed_gauge(
            "queue_tokens", "Tokens accepted and not answered yet.", ["lane"]
        )
        self.queue_rows = make.summed_gauge(
            "queue_rows", "Rows accepted and not answered yet.", ["lane"]
        )
        self.lane_tokens = make.counter(
            "lane_tokens", "Tokens of forward passes, by lane.", ["lane"]
        )
        self.rows = make.counter("rows", "Rows by where their vectors came from.", ["source"])
        self.cache_bytes = make.summed_gauge("cache_bytes", "Bytes of vectors that are kept.")
        self.queue_tokens_limit = make.gauge(
            "queue_tokens_limit", "Tokens that may wait; past it requests are refused.", ["lane"]
        )
        self.batch_tokens = make.histogram(
            "batch_tokens", "Tokens of a forward pass.", buckets=_BATCH_TOKENS
        )
        self.batch_rows = make.histogram(
            "batch_rows", "Rows of a forward pass.", buckets=_BATCH_ROWS
        )
        self.batch_requests = make.histogram(
            "batch_requests", "Requests whose rows a forward pass mixed.", buckets=_BATCH_ROWS
        )
        self.batch_fill_ratio = make.histogram(
            "batch_fill_ratio", "Tokens of a forward pass / the most it may have.", buckets=_FILL
        )
        self.workers = make.gauge("workers", "Workers there should be.")
        self.workers_ready = make.gauge("workers_ready", "Workers with a model loaded.")
        self.worker_restarts = make.counter("worker_restarts", "Workers started again.")
        _begin(
            (self.stage_seconds, STAGES),
            (self.tokens, (*tasks, "none")),
            (self.rows, ROW_SOURCES),
            *((series, LANES) for series in (self.queue_tokens, self.queue_rows, self.lane_tokens)),
        )


class BatchJobMetrics:
    """The series of batch jobs, of a process that has a folder for them.

    The one process that works on jobs counts: of several HTTP processes all others say zero.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        make = _Series(registry)
        self.jobs = make.gauge("batch_jobs", "Batch jobs that have not ended.", ["state"])
        self.ended = make.counter("batch_jobs_ended", "Batch jobs that have ended.", ["outcome"])
        self.lines = make.counter(
            "batch_job_lines", "Lines of batch jobs in their output or error files.", ["outcome"]
        )
        self.lines_waiting = make.gauge(
            "batch_job_lines_waiting", "Lines of validated batch jobs that are yet to be answered."
        )
        self.data_bytes = make.gauge("data_bytes", "Bytes of all files of batch jobs.")
        self.data_bytes_limit = make.gauge(
            "data_bytes_limit", "Bytes that they may have; past it uploads are refused."
        )
        _begin((self.jobs, JOB_STATES), (self.ended, JOB_OUTCOMES), (self.lines, LINE_OUTCOMES))
