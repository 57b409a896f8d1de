"""How long a single query takes alone, beside bulk and beside flex bulk, what flex bulk gets beside
queries, and what an idle service takes.

Latencies count from the moment a request was due.
"""

import time
from dataclasses import dataclass

from app.tools.load import Load, Prepared, Seen
from app.tools.load_processes import Fleet, generators
from tests.bench.observed import Observed
from tests.server import Service

# Queries a second, at most: what one more client may send beside bulk.
MOST_PER_S = 100.0


@dataclass(frozen=True, slots=True)
class Bulk:
    """The same bulk in each lane, without pause, and the texts of one request of it."""

    interactive: Load
    flex: Load
    inputs: int


def beside_bulk(
    service: Service, fleet: Fleet, bulk: Bulk, queries: Prepared, most_per_s: float
) -> dict[str, float]:
    """Single queries, a tenth of what there can be: alone, and beside each kind of bulk.

    The bound beside bulk is two batches and the query's own time (promise 3), beside flex bulk one
    full batch and its own time (promise 14): `..._of_bound` is a share of it. A full batch is a
    mean one of flex bulk alone.
    """
    rate = max(min(most_per_s / 10, MOST_PER_S), 0.2)
    single = Load(service.url, queries, 64, bulk.flex.seconds, rate=rate, timeout_s=600)

    with generators(1) as asking:

        def beside(load: Load) -> tuple[Seen, Seen, float]:
            """What became of queries and of bulk, and the milliseconds of a mean batch."""
            fleet.begin(load)
            before = Observed.of(service)
            outcome = asking.run(single).right()
            batch_ms = Observed.of(service).since(before)["forward_ms"]
            return outcome, fleet.finish().right(), batch_ms

        alone = asking.run(single).right()
        before = Observed.of(service)
        flex_alone = fleet.run(bulk.flex).right()
        full_batch_ms = Observed.of(service).since(before)["forward_ms"]
        in_bulk, seen_bulk, batch_ms = beside(bulk.interactive)
        in_flex, seen_flex, _ = beside(bulk.flex)
    own_ms = 1e3 * alone.latency(0.99)
    return {
        **_latencies("alone", alone),
        **_latencies("beside_bulk", in_bulk),
        **_latencies("beside_flex", in_flex),
        "mean_batch_ms": batch_ms,
        "full_batch_ms": full_batch_ms,
        "p99_of_bound": 1e3 * in_bulk.latency(0.99) / (2 * batch_ms + own_ms),
        "flex_p99_of_bound": 1e3 * in_flex.latency(0.99) / (full_batch_ms + own_ms),
        "queries_per_s": rate,
        "flex_alone_texts_per_s": flex_alone.per_s * bulk.inputs,
        "bulk_beside_texts_per_s": seen_bulk.per_s * bulk.inputs,
        "flex_beside_texts_per_s": seen_flex.per_s * bulk.inputs,
    }


def _latencies(name: str, outcome: Seen) -> dict[str, float]:
    return {
        f"p{quantile}_{name}_ms": 1e3 * outcome.latency(quantile / 100) for quantile in (50, 99)
    }


def idle(service: Service, seconds: float = 20) -> dict[str, float]:
    """The share of one core that a service takes to which nobody speaks."""
    before = Observed.of(service)
    time.sleep(seconds)
    spent = Observed.of(service).since(before)
    return {"idle_cpu": spent["http_cores"] + spent["worker_cores"]}
