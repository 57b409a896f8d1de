"""Observed: what a service has spent and done so far, and between two moments."""

import re
import time
from dataclasses import dataclass

import httpx
import psutil

from tests.server import Service

_SUM = re.compile(r"^quintet_(\w+)_(sum|count)(?:\{stage=\"(\w+)\"\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Observed:
    """CPU seconds of each HTTP process and of all workers, and the sums and counts of the
    service's histograms."""

    at: float
    http_s: tuple[float, ...]
    worker_s: float
    sums: dict[str, float]

    @classmethod
    def of(cls, service: Service) -> "Observed":
        """Now."""
        text = httpx.get(f"{service.url}/metrics", timeout=120).text
        sums = {
            f"{stage or name}_{kind}": float(value)
            for name, kind, stage, value in _SUM.findall(text)
        }
        http = tuple(map(_cpu_seconds, service.http_processes()))
        worker = sum(map(_cpu_seconds, service.workers()))
        return cls(time.perf_counter(), http, worker, sums)

    def since(self, before: "Observed") -> dict[str, float]:
        """What was between two moments: cores that were busy, the mean rows and tokens of a batch,
        milliseconds of each stage of a request, and the share of the time that batches took."""
        seconds = self.at - before.at
        http = [now - then for now, then in zip(self.http_s, before.http_s, strict=True)]
        found = {
            "http_cores": sum(http) / seconds,
            "busiest_http": max(http) / seconds,
            "worker_cores": (self.worker_s - before.worker_s) / seconds,
            "forward_share": self._sum("forward_sum", before) / seconds,
        }
        for name in ("batch_rows", "batch_tokens"):
            found[name] = self._mean(name, before)
        for stage in ("parse", "tokenise", "queue", "forward", "encode"):
            found[f"{stage}_ms"] = 1e3 * self._mean(stage, before)
        return found

    def _sum(self, name: str, before: "Observed") -> float:
        return self.sums.get(name, 0.0) - before.sums.get(name, 0.0)

    def _mean(self, name: str, before: "Observed") -> float:
        return self._sum(f"{name}_sum", before) / max(self._sum(f"{name}_count", before), 1)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
