"""How long a single query takes alone and beside bulk, and what an idle service takes.

Latencies count from the moment a query was due.
"""

import time

from app.tools.load import Load, Prepared
from app.tools.load_processes import Fleet, generators
from tests.bench.observed import Observed
from tests.server import Service

# Queries a second, at most: what one more client may send beside bulk.
MOST_PER_S = 100.0


def beside_bulk(
    service: Service, fleet: Fleet, load: Load, queries: Prepared, most_per_s: float
) -> dict[str, float]:
    """Single queries, a tenth of what there can be: alone, and beside bulk without pause.

    The bound of promise 3 is two batches and the query's own time: `p99_of_bound` is a share of it.
    """
    rate = max(min(most_per_s / 10, MOST_PER_S), 0.2)
    single = Load(service.url, queries, 64, load.seconds, rate=rate, timeout_s=600)
    with generators(1) as asking:
        alone = asking.run(single).right().latency(0.99)
        fleet.begin(load)
        before = Observed.of(service)
        beside = asking.run(single).right().latency(0.99)
        batch_ms = Observed.of(service).since(before)["forward_ms"]
        fleet.finish().right()
    bound = 2 * batch_ms + 1e3 * alone
    return {
        "p99_alone_ms": 1e3 * alone,
        "p99_beside_bulk_ms": 1e3 * beside,
        "mean_batch_ms": batch_ms,
        "p99_of_bound": 1e3 * beside / bound,
    }


def idle(service: Service, seconds: float = 20) -> dict[str, float]:
    """The share of one core that a service takes to which nobody speaks."""
    before = Observed.of(service)
    time.sleep(seconds)
    spent = Observed.of(service).since(before)
    return {"idle_cpu": spent["http_cores"] + spent["worker_cores"]}
