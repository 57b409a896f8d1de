"""The service beside its own encoder, in one run: what HTTP, tokenising and encoding cost.

    python -m tests.bench.bench_service [--shape mini|6x384|full-size | --model NAME]
        [--device auto]
        [--http-processes 1] [--generators 1] [--rounds 3] [--seconds 5] [--bulk-clients 2]
        [--connections 1,16] [--checkpoint FOLDER] [--parts bulk,short,beside,idle]

A real service on random weights, and the same checkpoint in this process; load comes from
processes of its own. Rounds go over all cases in turn, so that a noisy neighbour hits all of them
alike, and every figure is a median. Tasks are mixed, each request with the next of five, but where
a case says one. A sample of the answers must have the encoder's own vectors. A table for people,
one JSON line last.

On a machine with a GPU and 16 cores:

    python -m tests.bench.bench_service --shape full-size --device cuda:0 --http-processes 8 \
        --generators 4 --rounds 2 --seconds 2 --bulk-clients 24 --connections 1,64,128,256,512 \
        --parts bulk,short,beside
"""

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from app.tools.load_processes import generators
from model import embedder
from model.memory import keep_freed_memory
from tests.bench.bench_model import SHAPES
from tests.bench.beside_bulk import Bulk, beside_bulk, idle
from tests.bench.checkpoint import checkpoint
from tests.bench.texts import requests, texts_of_tokens
from tests.bench.under_load import BULK_SIZES, SHORT_TOKENS, Bench, Case
from tests.server import start

# Compiling for a GPU takes minutes on a slow one's host.
START_S = 600.0
_BEGAN = time.perf_counter()


def cases(options: argparse.Namespace) -> list[Case]:
    """What is measured in each round."""
    found, clients = [], options.bulk_clients
    if "bulk" in options.parts:
        for inputs, tokens in BULK_SIZES:
            found.append(Case(f"{inputs} x {tokens} base64", inputs, tokens, clients))
        inputs, tokens = BULK_SIZES[0]
        found.append(Case(f"{inputs} x {tokens} float", inputs, tokens, clients, "float"))
    if "short" in options.parts:
        found += [
            Case(f"1 x {SHORT_TOKENS}, {each} connections", 1, SHORT_TOKENS, each)
            for each in options.connections
        ]
        most = options.connections[-1]
        name = f"1 x {SHORT_TOKENS}, {most}, one task"
        found.append(Case(name, 1, SHORT_TOKENS, most, tasks=["text-matching"]))
    return found


def measure(bench: Bench, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Medians of all figures of all cases."""
    todo = cases(options)
    sizes = BULK_SIZES if "bulk" in options.parts else []
    encoders = {size: bench.encoder_rate(*size) for size in sizes}
    rounds: dict[str, list[dict[str, float]]] = {}
    for turn in range(options.rounds + 1):
        alone = {size: run() for size, run in encoders.items()}
        for case in todo:
            say(f"round {turn}: {case.name}")
            found = bench.run(case)
            if rate := alone.get((case.inputs, case.tokens)):
                found |= {"encoder_per_s": rate, "share": found["texts_per_s"] / rate}
            if turn:  # the first warms up
                rounds.setdefault(case.name, []).append(found)
        if turn and "beside" in options.parts:
            cases_of = [Case("", *BULK_SIZES[0], 2, tier=tier) for tier in ("default", "flex")]
            bulk = Bulk(*map(bench.load, cases_of), BULK_SIZES[0][0])
            texts = texts_of_tokens(bench.loaded.tokenizer, 200, SHORT_TOKENS)
            queries = requests([[text] for text in texts], "base64")
            most = bench.run(Case("", 1, SHORT_TOKENS, 16))["texts_per_s"]
            found = beside_bulk(bench.service, bench.fleet, bulk, queries, most)
            rounds.setdefault("beside bulk", []).append(found)
    return {
        name: {key: median(each[key] for each in of) for key in of[0]}
        for name, of in rounds.items()
    }


def main() -> None:
    """Measure and print."""
    options = arguments()
    keep_freed_memory()  # as a worker does
    with ExitStack() as stack:
        folder = options.checkpoint or stack.enter_context(tempfile.TemporaryDirectory())
        path = options.model or checkpoint(Path(folder), options.shape)
        say("the checkpoint is written")
        service = start(
            model=path,
            devices=options.device,
            http_processes=options.http_processes,
            request_timeout_s=1800,
            cache_bytes=0,  # texts come again
        )
        stack.callback(service.stop)
        loaded = embedder.load(path, options.device)  # while the service starts
        fleet = stack.enter_context(generators(options.generators))
        service.wait_until_ready(START_S)
        say("the service is ready")
        bench = Bench(service, loaded, fleet, options)
        if "bulk" in options.parts:  # it is measured
            loaded.warm_up(bench.batch_tokens)
            say("the encoder is warm")
        results = measure(bench, options)
        if "idle" in options.parts:
            results["idle"] = idle(service)
        facts = {
            "device": loaded.device_name,
            "dtype": loaded.dtype,
            "model": options.model or options.shape,
            "cpus": os.cpu_count(),
            "http_processes": options.http_processes,
            "generators": options.generators,
            "worst_cosine": round(bench.worst_cosine, 6),
        }
    report(facts, results)


def say(what: str) -> None:
    """A line about the progress, with its time."""
    print(f"{time.perf_counter() - _BEGAN:6.1f} s  {what}", file=sys.stderr, flush=True)


def report(facts: dict[str, object], results: dict[str, dict[str, float]]) -> None:
    """A table for people, and the JSON line."""
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    for name, found in results.items():
        print(f"{name}:")
        print("   ", "  ".join(f"{key} {value:.4g}" for key, value in found.items()))
    rounded = {
        name: {key: float(f"{value:.4g}") for key, value in found.items()}
        for name, found in results.items()
    }
    print(json.dumps({"bench": "service", **facts, "results": rounded}))


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--shape", choices=SHAPES, default="6x384")
    add("--model", help="a served one, quintet-mini, in place of random weights of a shape")
    add("--device", default="auto")
    add("--http-processes", type=int, default=1)
    add("--generators", type=int, default=1, help="processes that send requests")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=5, help="of a case in a round")
    add("--bulk-requests", type=int, default=20, help="different ones on a CPU; few at full size")
    add("--bulk-clients", type=int, default=2)
    add("--connections", type=_numbers, default=[1, 16], help="of short queries: 1,64,256")
    add("--checkpoint", help="folder of checkpoints, written where missing; else a temporary one")
    add("--parts", type=lambda text: text.split(","), default=["bulk", "short", "beside", "idle"])
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


if __name__ == "__main__":
    main()
