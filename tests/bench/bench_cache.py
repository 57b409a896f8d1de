"""The cache beside a service without it: a hit and a miss, queries that repeat or do not.

    python -m tests.bench.bench_cache [--model quintet-mini] [--device auto] [--connections 4]
        [--rounds 3] [--seconds 1.5]

Two real services; rounds go over all cases in turn, with texts that were never sent before, and
every figure is a median. Of the repeating stream a third are texts that came before, the earlier
ones more often (by Zipf's law): counting says that it takes two thirds of the forward passes. CPU
seconds are those of a request. A table for people, one JSON line last.
"""

import argparse
import json
import random
from contextlib import ExitStack
from itertools import count
from statistics import median

from app.tools.bench_texts import WORDS
from app.tools.load import Load, Prepared
from app.tools.load_processes import Fleet, generators
from tests.bench.observed import Observed
from tests.exchange import post
from tests.server import Service, running

WORDS_OF_A_QUERY = 10
RATES = 4000  # requests that are made for each second: more than are sent
REPEAT = 1 / 3
_seeds = count(1)


def stream(length: int, repeat: float) -> list[bytes]:
    """Queries, of which a share are ones that came before."""
    rng, texts, sent = random.Random(next(_seeds)), list[str](), list[str]()
    weights = [1 / rank for rank in range(1, 1001)]
    for _ in range(length):
        if texts and rng.random() < repeat:
            text = rng.choices(texts[:1000], weights[: len(texts)])[0]
        else:
            text = f"{' '.join(rng.choices(WORDS, k=WORDS_OF_A_QUERY))} {rng.getrandbits(32):x}"
            texts.append(text)
        sent.append(text)
    return [post({"input": text, "encoding_format": "base64"}).wire for text in sent]


def figures(
    service: Service, fleet: Fleet, wires: list[bytes], connections: int, seconds: float
) -> dict[str, float]:
    """One round of one case."""
    before = Observed.of(service)
    load = Load(service.url, Prepared(wires), connections, seconds)
    seen = fleet.run(load).right()
    now = Observed.of(service)
    requests = len(seen.latencies)
    assert requests <= len(wires) or len(wires) == 1, "a fresh text came again"
    return {
        "per_s": seen.per_s,
        "p50_ms": 1e3 * seen.latency(0.5),
        "http_us": 1e6 * (sum(now.http_s) - sum(before.http_s)) / requests,
        "worker_us": 1e6 * (now.worker_s - before.worker_s) / requests,
    }


def measure(
    services: dict[str, Service], fleet: Fleet, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Medians of all cases."""
    rounds: dict[str, list[dict[str, float]]] = {}
    length = int(RATES * options.seconds)
    for turn in range(options.rounds + 1):
        cases = [
            *(
                (f"fresh, {name}", name, stream(length, 0), options.connections)
                for name in services
            ),
            *(
                (f"a third repeats, {name}", name, stream(length, REPEAT), options.connections)
                for name in services
            ),
            ("a miss", "cache", stream(length, 0), 1),
            ("a hit", "cache", stream(1, 0), 1),
        ]
        for case, name, wires, connections in cases[:: -1 if turn % 2 else 1]:
            found = figures(services[name], fleet, wires, connections, options.seconds)
            if turn:  # the first warms up
                rounds.setdefault(case, []).append(found)
    return {
        case: {key: median(each[key] for each in found) for key in found[0]}
        for case, found in rounds.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="quintet-mini")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of a case in a round")
    options = parser.parse_args()
    settings = {"model": options.model, "devices": options.device}
    with ExitStack() as stack:
        services = {
            "cache": stack.enter_context(running(**settings)),
            "no cache": stack.enter_context(running(**settings, cache_bytes=0)),
        }
        results = measure(services, stack.enter_context(generators(1)), options)
    for case, found in sorted(results.items()):
        print(f"{case:26}", "  ".join(f"{key} {value:.4g}" for key, value in found.items()))
    rounded = {
        case: {key: float(f"{value:.4g}") for key, value in found.items()}
        for case, found in results.items()
    }
    print(json.dumps({"bench": "cache", "model": options.model, "results": rounded}))


if __name__ == "__main__":
    main()
