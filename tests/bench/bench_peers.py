"""Quintet beside other servers, each alone on the machine, in one run.

    python -m tests.bench.bench_peers --python PEERS/bin/python
        [--infinity INFINITY/bin/infinity_emb] [--shape 6x384] [--rounds 3] [--requests 800,40]
        [--only openvino,quintet] [--checkpoints FOLDER] [--batcher="--rows 16 --multiple 32"]

Random weights of one shape: Quintet's with five adapters and rotary positions, the peers' a plain
XLM-RoBERTa without either (tests/bench/peers). The same texts, the same tokenizer, base64, the same
cores, which the load generator is on, too. A server is started, warmed up for each load until two
windows agree within 5 %, measured for a window of so many requests, and ended; then the next one
is. Rounds go over all servers in turn. Medians. A table for people, one JSON line last.

What runs is CONFIGURATIONS of peer_servers.py; the README says how each is configured.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

import psutil

from app.tools.load import Load, Prepared
from app.tools.load_processes import Fleet, generators
from tests.bench.bench_model import SHAPES
from tests.bench.peer_servers import (
    CONFIGURATIONS,
    Configuration,
    NotStartedError,
    checkpoints,
    started,
)
from tests.bench.texts import texts
from tests.checkpoints import TASKS
from tests.exchange import post

# Clients, inputs of a request, words of an input.
LOADS = {
    "16 clients, one text of 12 words": (16, 1, 12),
    "4 clients, 32 texts of 96 words": (4, 32, 96),
}
STEADY = 0.05
MOST_WINDOWS = 12


def load_of(url: str, configuration: Configuration, load: str) -> Load:
    """The load as bytes: five tasks in turn, or one where the server has no other."""
    clients, inputs, words = LOADS[load]
    tasks = list(TASKS) if configuration.mixed else ["text-matching"]
    wires = []
    for number in range(200 if inputs == 1 else 40):
        body = {"input": texts(inputs, words, number), "task": tasks[number % len(tasks)]}
        body["encoding_format"] = "base64"
        if configuration.kind == "infinity":
            body["model"] = "bench"
        wires.append(post(body, path=configuration.path).wire)
    return Load(url, Prepared(wires), clients, seconds=60)


def steady_windows(fleet: Fleet, load: Load, requests: int) -> int:
    """Warm up; the number of windows until two agreed, at most MOST_WINDOWS."""
    before = 0.0
    for window in range(1, MOST_WINDOWS + 1):
        rate = fleet.run(_of(load, requests)).right().per_s
        if abs(rate - before) <= STEADY * max(rate, before):
            return window
        before = rate
    return MOST_WINDOWS


def _of(load: Load, requests: int) -> Load:
    return replace(load, most=requests)


def visit(
    fleet: Fleet, configuration: Configuration, folder: Path, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """One server's turn: start, warm up, measure, end."""
    found = {}
    with started(configuration, folder, options) as (url, pid):
        for load, requests in zip(LOADS, options.requests, strict=True):
            ready = load_of(url, configuration, load)
            windows = steady_windows(fleet, ready, max(requests // 4, LOADS[load][0]))
            before, began = cpu_seconds(pid), time.perf_counter()
            seen = fleet.run(_of(ready, requests)).right()
            found[load] = {
                "texts_per_s": seen.per_s * LOADS[load][1],
                "p50_ms": 1e3 * seen.latency(0.5),
                "p99_ms": 1e3 * seen.latency(0.99),
                "server_cores": (cpu_seconds(pid) - before) / (time.perf_counter() - began),
                "generator_cores": seen.cpu_s / seen.seconds,
                "warm_up_windows": windows,
            }
        found["memory"] = {"megabytes": memory(pid) / 1e6}
    return found


def processes(pid: int) -> list[psutil.Process]:
    """A server and its workers."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """What they have spent."""
    return sum(sum(each.cpu_times()[:2]) for each in processes(pid))


def memory(pid: int) -> float:
    """What they hold, without what they share."""
    return sum(each.memory_full_info().pss for each in processes(pid))


def main() -> None:
    """Measure and print."""
    options = arguments()
    chosen = {
        name: each
        for name, each in CONFIGURATIONS.items()
        if not options.only or any(part in name for part in options.only)
    }
    rounds: dict[str, list[dict[str, dict[str, float]]]] = {}
    with ExitStack() as stack:
        own = options.checkpoints or stack.enter_context(tempfile.TemporaryDirectory())
        folder = Path(own) / options.shape
        checkpoints(folder, SHAPES[options.shape])
        fleet = stack.enter_context(generators(1))
        began = time.perf_counter()
        for _ in range(options.rounds):
            for name, configuration in list(chosen.items()):
                try:
                    found = visit(fleet, configuration, folder, options)
                except NotStartedError as error:
                    print(f"{name} is left out: {error}", file=sys.stderr)
                    del chosen[name]
                    continue
                rounds.setdefault(name, []).append(found)
                rates = [f"{found[load]['texts_per_s']:.1f}" for load in LOADS]
                print(f"{time.perf_counter() - began:6.1f} s {name:34}", *rates, file=sys.stderr)
    results = {
        name: {
            load: {key: median(each[load][key] for each in turns) for key in turns[0][load]}
            for load in turns[0]
        }
        for name, turns in rounds.items()
    }
    for load in LOADS:
        print(f"\n{load}")
        for name, found in results.items():
            figures = found[load]
            print(f"  {name:34}", "  ".join(f"{key} {figures[key]:.4g}" for key in figures))
    print(json.dumps({"bench": "peers", "shape": options.shape, "results": results}))


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--python", help="of the peers' environment")
    add("--infinity", help="the command of infinity's environment")
    add("--shape", choices=SHAPES, default="6x384")
    add("--checkpoints", help="a folder, filled where it is empty; else a temporary one")
    add("--rounds", type=int, default=3)
    add("--only", type=lambda text: text.split(","), help="parts of configurations' names")
    add("--requests", type=lambda text: [*map(int, text.split(","))], default=[800, 40])
    add("--batcher", type=str.split, default=[], help="for peers/serve.py: '--rows 16'")
    return parser.parse_args()


if __name__ == "__main__":
    main()
