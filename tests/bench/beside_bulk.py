"""How long a single query takes alone and beside bulk, and what an idle service takes.

Latencies count from the moment a query was due.
"""

import asyncio
import time

from tests.bench.generators import Fleet, Load
from tests.bench.observed import Observed
from tests.load import MakeRequest, Outcome, open_loop
from tests.server import Service

# Queries a second, at most: what one more client may send beside bulk.
MOST_PER_S = 100.0


def beside_bulk(
    service: Service, fleet: Fleet, load: Load, make: MakeRequest, most_per_s: float
) -> dict[str, float]:
    """Single queries, a tenth of what there can be: alone, and beside bulk without pause.

    The bound of promise 3 is two batches and the query's own time: `p99_of_bound` is a share of it.
    """
    rate = max(min(most_per_s / 10, MOST_PER_S), 0.2)

    def p99() -> float:
        outcome = asyncio.run(open_loop(service.url, rate, load.seconds, make, timeout_s=600))
        return _right(outcome).latency(0.99)

    alone = p99()
    fleet.begin(load)
    before = Observed.of(service)
    beside = p99()
    batch_ms = Observed.of(service).since(before)["forward_ms"]
    fleet.finish()
    bound = 2 * batch_ms + 1e3 * alone
    return {
        "p99_alone_ms": 1e3 * alone,
        "p99_beside_bulk_ms": 1e3 * beside,
        "mean_batch_ms": batch_ms,
        "p99_of_bound": 1e3 * beside / bound,
    }


def _right(outcome: Outcome) -> Outcome:
    """A wrong answer makes the figures worthless."""
    assert not outcome.failed, outcome.kinds
    return outcome


def idle(service: Service, seconds: float = 20) -> dict[str, float]:
    """The share of one core that a service takes to which nobody speaks."""
    before = Observed.of(service)
    time.sleep(seconds)
    spent = Observed.of(service).since(before)
    return {"idle_cpu": spent["http_cores"] + spent["worker_cores"]}
