"""One HTTP process before a worker that answers at once: what a request costs of a core.

    python -m tests.bench.bench_http FOLDER [--rounds 5] [--seconds 2] [--connections 64]

FOLDER needs config.json and tokenizer.json alone: vectors are random numbers of the model's width.
The process is one of several, as beside a GPU, and keeps its metrics as such. Figures are medians,
of its CPU seconds, which a busy machine changes less than the time. A table for people, one JSON
line last.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from queue import SimpleQueue
from statistics import median

import numpy as np
import psutil

from app.engine import control, framing, messages
from app.engine.queue_table import make_table
from app.processes.metrics_folder import VARIABLE
from app.tools.load import Load, Prepared
from app.tools.load_processes import Fleet, generators
from model.config import read_config
from model.spaces import Fingerprint
from model.tokenizer import Tokenizer
from tests.bench.texts import texts_of_tokens
from tests.checkpoints import TASKS
from tests.exchange import post
from tests.workers import receive_frame

# Inputs of a request, tokens of an input, encoding.
CASES = [(1, 16, "base64"), (64, 128, "base64"), (64, 128, "float"), (32, 512, "base64")]
REQUESTS = 40


def work(connection: socket.socket, width: int) -> None:
    """Answer all jobs that have come in, then those that came meanwhile."""
    vectors = np.random.default_rng(0).standard_normal((max(CASES)[0], width), dtype=np.float32)
    jobs: SimpleQueue[messages.Embed] = SimpleQueue()

    def receive() -> None:
        for frames in framing.receive_frames(connection):
            for message in map(messages.decode_to_worker, frames):
                assert isinstance(message, messages.Embed), "no caller hangs up"
                jobs.put(message)

    threading.Thread(target=receive, daemon=True).start()
    while True:
        batch = [jobs.get(), *(jobs.get() for _ in range(jobs.qsize()))]
        done: list[messages.FromWorker] = [
            messages.BatchDone(1, 1, len(batch), 0.001, counted=True)
        ]
        for each in batch:
            rows = len(messages.rows_of(each))
            done.append(messages.result_message(each.job, vectors[:rows], 0.001))
        connection.sendall(b"".join(map(messages.frame, done)))


@contextmanager
def http_process(folder: Path, width: int) -> Iterator[tuple[str, psutil.Process]]:
    """Its address and itself, started and told as the parent does."""
    with (
        tempfile.TemporaryDirectory() as metrics,
        socket.create_server(("127.0.0.1", 0), backlog=1024) as listener,
    ):
        ours, its = socket.socketpair()
        process = subprocess.Popen(
            [sys.executable, "-m", "app.processes.http_process", str(its.fileno()), "0"],
            pass_fds=[its.fileno()],
            env={**os.environ, "EMBED_CACHE_BYTES": "0", VARIABLE: metrics},
            stderr=subprocess.DEVNULL,
        )
        its.close()
        told = control.ControlSocket(ours)
        start = control.StartHttpProcess(str(folder), restarted=False)
        told.send(start, (listener.fileno(), make_table(1, 1)))
        receive_frame(ours)  # ApplicationBuilt
        one, other = socket.socketpair()
        facts = ("cuda:0", "bfloat16", "none", 1, 32768, 1.0, process.pid)
        started = control.WorkerStarted(*facts, Fingerprint("", ("",) * len(TASKS)))
        told.send(control.LinkWorker(0, started), (other.fileno(),))
        threading.Thread(target=work, args=(one, width), daemon=True).start()
        told.send(control.Serve())
        receive_frame(ours)  # WorkerLinked
        try:
            host, port = listener.getsockname()
            yield f"http://{host}:{port}", psutil.Process(process.pid)
        finally:
            process.kill()
            process.wait()


def measure(
    service: tuple[str, psutil.Process],
    fleet: Fleet,
    tokenizer: Tokenizer,
    options: argparse.Namespace,
) -> dict[str, dict[str, float]]:
    """Medians of each case."""
    (url, process), results = service, {}
    for inputs, tokens, encoding in CASES:
        texts = texts_of_tokens(tokenizer, inputs * REQUESTS, tokens)
        wires = [
            post({"input": texts[at : at + inputs], "task": task, "encoding_format": encoding}).wire
            for at, task in zip(range(0, len(texts), inputs), cycle(TASKS))
        ]
        load = Load(
            url, Prepared(wires), options.connections if inputs == 1 else 16, options.seconds
        )
        costs = []
        for _ in range(options.rounds + 1):
            before = sum(process.cpu_times()[:2])
            seen = fleet.run(load).right()
            costs.append((sum(process.cpu_times()[:2]) - before) / len(seen.latencies))
        cost = median(costs[1:])  # the first warms up
        results[f"{inputs} x {tokens} {encoding}"] = {
            "us_a_request": 1e6 * cost,
            "requests_per_core_s": 1 / cost,
            "tokens_per_core_s": inputs * tokens / cost,
        }
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of a case in a round")
    parser.add_argument("--connections", type=int, default=64, help="of short queries")
    options = parser.parse_args()
    config = read_config(options.folder)
    tokenizer = Tokenizer(options.folder, config)
    with http_process(options.folder, config.hidden_size) as service, generators(1) as fleet:
        results = measure(service, fleet, tokenizer, options)
        megabytes = service[1].memory_info().rss >> 20
    for name, found in results.items():
        print(f"{name:18}", "  ".join(f"{key} {value:.4g}" for key, value in found.items()))
    print(f"{megabytes} MB")
    rounded = {
        name: {key: float(f"{value:.4g}") for key, value in found.items()}
        for name, found in results.items()
    }
    print(json.dumps({"bench": "http", "megabytes": megabytes, "results": rounded}))


if __name__ == "__main__":
    main()
