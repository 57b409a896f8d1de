"""A service under load, with its encoder and the generators: a round of one case."""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, cycle

import numpy as np
import torch

from app.tools.load import Load, Prepared, Seen
from app.tools.load_processes import Fleet
from model.embedder import Embedder
from model.packing import batches
from model.rows import Row, normalised
from tests.bench.observed import Observed
from tests.bench.texts import texts_of_tokens
from tests.checkpoints import TASKS
from tests.exchange import post
from tests.mixture import vectors
from tests.server import Service

SHORT_TOKENS = 16
SHORT_TEXTS = 1000
BULK_SIZES = [(64, 128), (32, 512)]  # inputs of a request, tokens of an input
# Of the same row alone and in a batch, in bfloat16, whose rounding random weights of 24 layers make
# grow (.974 was met at full size, .9999 with 6 layers): a wrong vector is far below.
LEAST_COSINE = 0.95


@dataclass(frozen=True, slots=True)
class Case:
    """Requests of `inputs` texts of `tokens` tokens over so many connections."""

    name: str
    inputs: int
    tokens: int
    connections: int
    encoding: str = "base64"
    tasks: Sequence[str] = tuple(TASKS)
    tier: str = "default"


class Bench:
    """The service, its encoder and the generators."""

    def __init__(
        self, service: Service, loaded: Embedder, fleet: Fleet, options: argparse.Namespace
    ) -> None:
        self.service = service
        self.loaded = loaded
        self.fleet = fleet
        self.seconds = options.seconds
        self.bulk_requests = 40 if loaded.device.type == "cuda" else options.bulk_requests
        with service.client() as client:
            worker = client.get("/info").json()["workers"][0]
        self.batch_tokens: int = worker["max_batch_tokens"]
        self.worst_cosine = 1.0
        self._inputs: dict[tuple[int, int], list[list[str]]] = {}

    def inputs(self, inputs: int, tokens: int) -> list[list[str]]:
        """The texts of each request of one size."""
        if (inputs, tokens) not in self._inputs:
            number = SHORT_TEXTS if inputs == 1 else self.bulk_requests
            found = texts_of_tokens(self.loaded.tokenizer, number * inputs, tokens)
            self._inputs[inputs, tokens] = [
                found[at : at + inputs] for at in range(0, number * inputs, inputs)
            ]
        return self._inputs[inputs, tokens]

    def load(self, case: Case) -> Load:
        """The case as bytes."""
        fields = {"encoding_format": case.encoding, "service_tier": case.tier}
        wires = [
            post({"input": each, "task": task, **fields}).wire
            for each, task in zip(self.inputs(case.inputs, case.tokens), cycle(case.tasks))
        ]
        return Load(self.service.url, Prepared(wires), case.connections, self.seconds)

    def run(self, case: Case) -> dict[str, float]:
        """One round of a case."""
        load = self.load(case)
        before = Observed.of(self.service)
        seen = self.fleet.run(load).right()
        spent = Observed.of(self.service).since(before)
        self._judge(case, seen)
        return {
            "texts_per_s": seen.per_s * case.inputs,
            "p50_ms": 1e3 * seen.latency(0.5),
            "p99_ms": 1e3 * seen.latency(0.99),
            **spent,
            "generator_cores": seen.cpu_s / seen.seconds,
        }

    def _judge(self, case: Case, seen: Seen) -> None:
        """Compare answers with the encoder's own vectors."""
        least = 2048 if self.loaded.device.type == "cuda" else 64
        inputs = self.inputs(case.inputs, case.tokens)
        for number, body in seen.kept[: max(least // case.inputs, 1)]:
            index = number % len(inputs)
            rows = self._rows(inputs[index], case.tasks, index)
            expected = normalised(self.loaded.embed(rows, self.batch_tokens))
            cosines = np.einsum("sd,sd->s", vectors(body), expected)
            self.worst_cosine = min(self.worst_cosine, float(cosines.min()))
            assert self.worst_cosine >= LEAST_COSINE, f"a wrong vector: cosine {self.worst_cosine}"

    def _rows(self, texts: list[str], tasks: Sequence[str], number: int) -> Sequence[Row]:
        task = self.loaded.tasks.by_name(tasks[number % len(tasks)])
        return self.loaded.tokenizer.rows(texts, task).rows

    def encoder_rate(self, inputs: int, tokens: int) -> Callable[[], float]:
        """A round of the encoder alone, texts a second: nothing but forward passes."""
        each = zip(count(), self.inputs(inputs, tokens))
        rows = [row for number, texts in each for row in self._rows(texts, tuple(TASKS), number)]
        groups = list(batches(rows, self.batch_tokens))
        packed = [(len(batch), self.loaded.pack(batch)) for batch in groups]
        on_gpu = self.loaded.device.type == "cuda"

        def run() -> float:
            began, done, passes = time.perf_counter(), 0, 0
            for number, batch in cycle(packed):
                self.loaded.forward(batch)
                done, passes = done + number, passes + 1
                if on_gpu and passes % len(packed):
                    continue  # it is computed later: look at the time after all of them
                if on_gpu:
                    torch.cuda.synchronize(self.loaded.device)
                if (spent := time.perf_counter() - began) >= self.seconds / 2:
                    break
            return done / spent

        return run
