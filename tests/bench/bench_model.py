"""The encoder beside what the same machine's matrix products give, in one run.

    python -m tests.bench.bench_model [--shape full-size|6x384|mini] [--rounds 5] [--device cpu]

Random weights, bfloat16 where the hardware has it. Every figure is a median over rounds, and rounds
go over all cases in turn, so that a noisy neighbour hits all of them alike. A table for people, one
JSON line last. FLOP count: 2 per weight and token in the blocks, and 4 * L * D a token and layer
for attention in rows of L tokens.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch

from model import embedder
from model.embedder import Embedder
from model.packing import PackedBatch
from model.rows import Row
from tests.checkpoints import FULL_SIZE, Shape, write_original

SHAPES = {
    "full-size": FULL_SIZE,
    "6x384": replace(FULL_SIZE, layers=6, width=384, heads=6, inner=1536),
    "mini": replace(FULL_SIZE, layers=6, width=256, heads=4, inner=1024, vocabulary=32000),
}
BATCHES = [(1, 16), (32, 16), (8, 128), (8, 512), (1, 4096)]  # rows, tokens a row
ADAPTERS = {"none": [None], "one": [2], "mixed": [0, 1, 2, 3, 4]}


def packed(loaded: Embedder, rows: int, length: int, adapters: list[int | None]) -> PackedBatch:
    """A batch of random rows."""
    rng = np.random.default_rng(0)
    ids = rng.integers(3, loaded.config.vocab_size, (rows, length)).astype(np.int32)
    return loaded.pack(
        [Row.whole(ids[index], adapters[index % len(adapters)]) for index in range(rows)]
    )


def flop(shape: Shape, rows: int, length: int) -> float:
    """What one forward pass must compute, adapters not counted."""
    weights = shape.layers * (4 * shape.width**2 + 2 * shape.width * shape.inner)
    attention = shape.layers * 4 * length * shape.width
    return rows * length * (2.0 * weights + attention)


def products(loaded: Embedder, shape: Shape, tokens: int) -> Callable[[], None]:
    """The blocks' matrix products alone, with the layers' own weights: the roofline."""
    width, inner = shape.width, shape.inner
    dtype = loaded.encoder.embedding.word.dtype
    sizes = [(width, 3 * width), (width, width), (width, inner), (inner, width)]
    inputs = {
        into: torch.randn(tokens, into, device=loaded.device, dtype=dtype) for into, _ in sizes
    }
    weights = [
        torch.randn(out, into, device=loaded.device, dtype=dtype)
        for _ in range(shape.layers)
        for into, out in sizes
    ]

    def run() -> None:
        for weight in weights:
            torch.nn.functional.linear(inputs[weight.shape[1]], weight)

    return run


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """One timed call."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def measured(
    cases: dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, float]:
    """Median seconds of each case; rounds go over all cases in turn, after one for warming up."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for name, work in cases.items():
                spent = seconds(work, device)
                if turn:
                    times[name].append(spent)
    return {name: median(each) for name, each in times.items()}


def bench(loaded: Embedder, shape: Shape, rounds: int) -> list[dict[str, object]]:
    """A result for each batch shape."""
    results: list[dict[str, object]] = []
    for rows, length in BATCHES:
        cases: dict[str, Callable[[], object]] = {
            name: partial(loaded.forward, packed(loaded, rows, length, adapters))
            for name, adapters in ADAPTERS.items()
        }
        cases["products"] = products(loaded, shape, rows * length)
        spent = measured(cases, rounds, loaded.device)
        result: dict[str, object] = {"rows": rows, "tokens_a_row": length}
        for name in ADAPTERS:
            result[f"{name}_tokens_per_s"] = round(rows * length / spent[name])
        product_flop = flop(shape, rows, length) - rows * length**2 * 4 * shape.width * shape.layers
        rate = product_flop / spent["products"]
        result["tflop_per_s"] = round(flop(shape, rows, length) / spent["none"] / 1e12, 3)
        result["products_tflop_per_s"] = round(rate / 1e12, 3)
        result["share_of_products"] = round(flop(shape, rows, length) / spent["none"] / rate, 3)
        result["mixed_of_one"] = round(spent["one"] / spent["mixed"], 3)
        result["one_of_none"] = round(spent["none"] / spent["one"], 3)
        results.append(result)
        print("  ".join(f"{value:>10}" for value in result.values()), flush=True)
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="6x384")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    with tempfile.TemporaryDirectory() as folder:
        loaded = embedder.load(write_original(Path(folder) / "model", shape), options.device)
        print(f"{options.shape} on {loaded.device_name}, {loaded.dtype}, {loaded.attention}")
        print(
            "rows, tokens a row, tokens/s (no adapter, one, five mixed), TFLOP/s, of the products"
        )
        results = bench(loaded, shape, options.rounds)
        facts = {"device": loaded.device_name, "dtype": loaded.dtype, "shape": options.shape}
    print(json.dumps({"bench": "model", **facts, "results": results}))


if __name__ == "__main__":
    main()
