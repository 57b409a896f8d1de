"""The service beside its own encoder, in one run: what HTTP, tokenising and encoding cost.

    python -m tests.bench.bench_service [--shape mini|6x384|full-size] [--rounds 5]
                                        [--http-processes 1]

A real service on random weights, and the same checkpoint in this process. Rounds go over all cases
in turn, so that a noisy neighbour hits all of them alike, and every figure is a median. Latencies
count from the moment a request was due. A table for people, one JSON line last.
"""

import argparse
import asyncio
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from statistics import median

import httpx
import psutil

from model import embedder
from model.embedder import Embedder
from model.memory import keep_freed_memory
from tests.bench.bench_model import SHAPES
from tests.bench.texts import requests, texts, texts_of_tokens
from tests.checkpoints import TASKS, write_original
from tests.load import MakeRequest, Outcome, closed_loop, open_loop
from tests.server import Service, running

# A bulk request, how many clients send them, and how many are sent in a round.
BULK_INPUTS, BULK_TOKENS, BULK_CLIENTS = 64, 128, 2
BULK_REQUESTS = {"mini": 60, "6x384": 20, "full-size": 2}
SINGLE_WORDS, SINGLE_CLIENTS = 12, 16
SECONDS = {"mini": 5.0, "6x384": 5.0, "full-size": 40.0}


def encoder_rate(loaded: Embedder, inputs: list[list[str]], batch_tokens: int) -> float:
    """Embeddings per second of the encoder alone, on the rows of requests with a task each."""
    rows = [
        row
        for each, task in zip(inputs, cycle(TASKS), strict=False)
        for row in loaded.tokenizer.rows(each, loaded.tasks.by_name(task)).rows
    ]
    began = time.perf_counter()
    loaded.embed(rows, batch_tokens)
    return len(rows) / (time.perf_counter() - began)


def bulk_rate(url: str, make: MakeRequest, count: int) -> float:
    """Embeddings per second over that many requests in a closed loop."""
    left = iter(range(count))

    def stop() -> bool:
        return next(left, None) is None

    outcome = asyncio.run(closed_loop(url, BULK_CLIENTS, 1800, make, stop=stop, timeout_s=900))
    return BULK_INPUTS * right(outcome) / outcome.seconds


def right(outcome: Outcome) -> int:
    """How many answers there are; a wrong one makes the figures worthless."""
    assert not outcome.failed, outcome.kinds
    return len(outcome.samples)


def cpu_seconds(service: Service) -> dict[str, float]:
    """CPU time so far, of the HTTP processes together and of the workers together."""
    first = psutil.Process(service.process.pid)
    spent = {"http": 0.0, "worker": 0.0}
    for process in (first, *first.children()):
        times = process.cpu_times()
        kind = "worker" if "app.engine.worker" in process.cmdline() else "http"
        spent[kind] += times.user + times.system
    return spent


def bulk(service: Service, loaded: Embedder, shape: str, rounds: int) -> dict[str, float]:
    """Bulk in base64 and in floats as shares of the encoder's own rate."""
    inputs = [
        texts_of_tokens(loaded.tokenizer, BULK_INPUTS, BULK_TOKENS)
        for _ in range(BULK_REQUESTS[shape])
    ]
    batch_tokens = loaded_batch_tokens(service)
    cases: dict[str, Callable[[], float]] = {
        "encoder": lambda: encoder_rate(loaded, inputs, batch_tokens),
        "base64": lambda: bulk_rate(service.url, requests(inputs, "base64"), len(inputs)),
        "float": lambda: bulk_rate(service.url, requests(inputs, "float"), len(inputs)),
    }
    rates: dict[str, list[float]] = {name: [] for name in cases}
    shares: dict[str, list[float]] = {"base64": [], "float": []}
    cpu = {"http": 0.0, "worker": 0.0}
    for turn in range(rounds + 1):
        before = cpu_seconds(service)
        for name, case in cases.items():
            rates[name].append(case())
        for kind, seconds in cpu_seconds(service).items():
            cpu[kind] += seconds - before[kind] if turn else 0
        for name, share in shares.items():
            share.append(rates[name][-1] / rates["encoder"][-1])
    found = {f"{name}_per_s": median(each[1:]) for name, each in rates.items()}
    found |= {f"{name}_share": median(each[1:]) for name, each in shares.items()}
    return {**found, "http_share_of_cpu": cpu["http"] / (cpu["http"] + cpu["worker"])}


def loaded_batch_tokens(service: Service) -> int:
    """The tokens of a batch, as the service's worker says."""
    with service.client() as client:
        tokens: int = client.get("/info").json()["workers"][0]["max_batch_tokens"]
    return tokens


@contextmanager
def without_pause(url: str, make: MakeRequest) -> Iterator[None]:
    """A client that sends the next bulk request when the last is answered."""
    left = threading.Event()
    loop = closed_loop(url, BULK_CLIENTS, 1800, make, stop=left.is_set, timeout_s=1800)
    thread = threading.Thread(target=lambda: right(asyncio.run(loop)))
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


def single(service: Service, seconds: float, rounds: int) -> dict[str, float]:
    """Single queries: how many there can be, and how long one takes alone and beside bulk."""
    make = requests([[text] for text in texts(200, SINGLE_WORDS)], "base64")
    big = requests([texts(BULK_INPUTS, 90, seed) for seed in range(4)], "base64")
    seen: dict[str, list[float]] = {
        name: [] for name in ("single_per_s", "p99_alone_s", "p99_beside_bulk_s", "mean_batch_s")
    }
    for turn in range(rounds + 1):
        closed = asyncio.run(closed_loop(service.url, SINGLE_CLIENTS, seconds / 2, make))
        rate = max(right(closed) / closed.seconds / 10, 0.2)
        quiet = asyncio.run(open_loop(service.url, rate, seconds, make, timeout_s=600))
        with without_pause(service.url, big):
            before = batches(service)
            busy = asyncio.run(open_loop(service.url, rate, seconds, make, timeout_s=600))
            after = batches(service)
        right(quiet), right(busy)
        if turn:
            seen["single_per_s"].append(closed.goodput)
            seen["p99_alone_s"].append(quiet.latency(0.99))
            seen["p99_beside_bulk_s"].append(busy.latency(0.99))
            seen["mean_batch_s"].append((after[1] - before[1]) / (after[0] - before[0]))
    found = {name: median(values) for name, values in seen.items()}
    bound = 2 * found["mean_batch_s"] + found["p99_alone_s"]
    return {**found, "p99_of_bound": found["p99_beside_bulk_s"] / bound}


def batches(service: Service) -> tuple[float, float]:
    """How many forward passes there were, and their seconds together."""
    text = httpx.get(f"{service.url}/metrics", timeout=120).text
    seconds = re.search(r'stage_seconds_sum\{stage="forward"\} (\S+)', text)
    count = re.search(r'stage_seconds_count\{stage="forward"\} (\S+)', text)
    assert seconds is not None
    assert count is not None
    return float(count.group(1)), float(seconds.group(1))


def idle(service: Service, seconds: float = 20) -> dict[str, float]:
    """The share of one core that a service takes to which nobody speaks."""
    before = sum(cpu_seconds(service).values())
    time.sleep(seconds)
    return {"idle_cpu": (sum(cpu_seconds(service).values()) - before) / seconds}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="6x384")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--http-processes", type=int, default=1)
    options = parser.parse_args()
    keep_freed_memory()  # as a worker does
    with tempfile.TemporaryDirectory() as folder:
        path = write_original(Path(folder) / "model", SHAPES[options.shape])
        loaded = embedder.load(path)
        loaded.warm_up()
        settings = {"model": path, "http_processes": options.http_processes}
        with running(**settings, request_timeout_s=1800) as service:
            facts = {
                "device": loaded.device_name,
                "dtype": loaded.dtype,
                "shape": options.shape,
                "http_processes": options.http_processes,
            }
            results = idle(service)
            results |= bulk(service, loaded, options.shape, options.rounds)
            results |= single(service, SECONDS[options.shape], options.rounds)
    for name, value in results.items():
        print(f"{name:>20} {value:.4g}")
    rounded = {name: round(value, 4) for name, value in results.items()}
    print(json.dumps({"bench": "service", **facts, "results": rounded}))


if __name__ == "__main__":
    main()
