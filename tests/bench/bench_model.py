"""The encoder beside what the same machine's matrix products give, in one run.

    python -m tests.bench.bench_model [--shape full-size|6x1024|6x384|mini] [--rounds 5]
        [--device cpu] [--dtype auto]

Random weights, bfloat16 where the hardware has it. Every figure is a median over rounds, and rounds
go over all cases in turn, so that a noisy neighbour hits all of them alike. A table for people, one
JSON line last. FLOP count: 2 per weight and token in the blocks, and 4 * L * D a token and layer
for attention in rows of L tokens. The roofline is the rate of those products alone, by the faster
of the two kernels in model/linear_kernels.py.
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
from torch import Tensor, nn

from model import embedder
from model.checkpoint import linear_kernels
from model.embedder import Embedder
from model.encoder import Block, Encoder
from model.linear_kernels import LinearKernel, TorchLinear
from model.lora import LinearTensors
from model.memory import keep_freed_memory
from model.packing import PackedBatch
from model.rows import Row
from tests.checkpoints import FULL_SIZE, Shape, write_original

SHAPES = {
    "full-size": FULL_SIZE,
    "6x1024": replace(FULL_SIZE, layers=6),  # a quarter of its layers
    "6x384": replace(FULL_SIZE, layers=6, width=384, heads=6, inner=1536),
    "mini": replace(FULL_SIZE, layers=12, width=384, heads=12, inner=1536, vocabulary=55000),
}
# Rows, tokens a row.
BATCHES = {
    "cpu": [(1, 16), (32, 16), (8, 128), (8, 512), (1, 4096)],
    "cuda": [(1, 16), (32, 16), (8, 128), (32, 128), (64, 128), (32, 512), (2, 8192)],
}
ADAPTERS: dict[str, list[int | None]] = {"none": [None], "one": [2], "mixed": [0, 1, 2, 3, 4]}


def packed(loaded: Embedder, rows: int, length: int, adapters: list[int | None]) -> PackedBatch:
    """A batch of random rows."""
    rng = np.random.default_rng(0)
    ids = rng.integers(3, loaded.config.vocab_size, (rows, length)).astype(np.int32)
    return loaded.pack(
        [Row.single_span(ids[index], adapters[index % len(adapters)]) for index in range(rows)]
    )


def flop(shape: Shape, rows: int, length: int) -> float:
    """What one forward pass must compute, adapters not counted."""
    weights = shape.layers * (4 * shape.width**2 + 2 * shape.width * shape.inner)
    return rows * length * 2.0 * weights + attention_flop(shape, rows, length)


def attention_flop(shape: Shape, rows: int, length: int) -> float:
    """The part of attention's two products."""
    return rows * length * 4.0 * length * shape.width * shape.layers


def kernel_of(loaded: Embedder) -> type[LinearKernel]:
    """The kernel of the layers' weights."""
    return linear_kernels(loaded.device, loaded.precision).weights


def products(
    loaded: Embedder, shape: Shape, tokens: int, product: type[LinearKernel]
) -> Callable[[], None]:
    """The blocks' matrix products alone, with weights of the layers' sizes: the roofline."""
    width, inner = shape.width, shape.inner
    dtype = loaded.precision.activations
    sizes = [(width, 3 * width), (width, width), (width, inner), (inner, width)]
    inputs = {
        into: torch.randn(tokens, into, device=loaded.device, dtype=dtype) for into, _ in sizes
    }
    layers = [
        (into, product(torch.randn(out, into, device=loaded.device, dtype=dtype), None))
        for _ in range(shape.layers)
        for into, out in sizes
    ]

    def run() -> None:
        for into, layer in layers:
            layer(inputs[into])

    return run


def matrix_rate(loaded: Embedder) -> float:
    """Operations a second of one large square product, random numbers: the device's matrix rate."""
    size = 8192 if loaded.device.type == "cuda" else 2048
    a, b = (
        torch.randn(size, size, device=loaded.device, dtype=loaded.precision.activations)
        for _ in range(2)
    )
    return 2 * size**3 / measured({"product": lambda: a @ b}, 9, loaded.device)["product"]


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
        for number in range(rounds + 1):
            for name, work in cases.items():
                spent = seconds(work, device)
                if number:
                    times[name].append(spent)
    return {name: median(each) for name, each in times.items()}


class Bare(nn.Module):
    """A linear layer as it would be if there were no adapters at all."""

    def __init__(self, product: LinearKernel) -> None:
        super().__init__()
        self._product = product

    def forward(self, x: Tensor, _: object, residual: Tensor | None = None) -> Tensor:
        """x (T, in) -> (T, out)."""
        return self._product(x, residual)

    def base_weight(self) -> Tensor:
        """The weight (out, in)."""
        return self._product.dense_weight()

    def tensors(self) -> LinearTensors:
        """Weight and bias."""
        return LinearTensors(self.base_weight(), self._product.bias)


def without_adapters(loaded: Embedder, shape: Shape) -> Embedder:
    """The same encoder with layers that know of no adapter."""
    width, inner = shape.width, shape.inner
    dtype = loaded.precision.activations
    product = kernel_of(loaded)
    sizes = {"qkv": (width, 3 * width), "out": (width, width), "fc1": (width, inner)}
    same = loaded.encoder.config, loaded.encoder.embedding, loaded.encoder.norm
    blocks = []
    for block in loaded.encoder.blocks:
        linears = {
            name: Bare(
                product(
                    torch.randn(out, into, device=loaded.device, dtype=dtype) / 32,
                    torch.zeros(out, device=loaded.device, dtype=dtype),
                    gelu=name == "fc1",
                )
            )
            for name, (into, out) in {**sizes, "fc2": (inner, width)}.items()
        }
        blocks.append(Block(linears, {"norm1": block.norm1, "norm2": block.norm2}))
    encoder = Encoder(*same, blocks, loaded.encoder.attention)
    return Embedder(encoder, loaded.tokenizer, loaded.device, loaded.precision)


def bench(loaded: Embedder, shape: Shape, rounds: int) -> list[dict[str, object]]:
    """A result for each batch shape."""
    results: list[dict[str, object]] = []
    bare = without_adapters(loaded, shape)
    loaded.warm_up()  # as a worker does: a GPU's functions are compiled and recorded by this
    bare.warm_up(adapters="stacked")
    kernels = {
        "products": kernel_of(loaded),
        "plain": TorchLinear,
    }
    (adapter,) = ADAPTERS["one"]
    assert adapter is not None
    if loaded.device.type == "cpu":  # as a worker does after a while of one task
        assert loaded._merged is not None
        loaded._merged.weights = {adapter: loaded.encoder.merged(adapter)}
    matrix = matrix_rate(loaded)
    for rows, length in BATCHES[loaded.device.type]:
        tokens = rows * length
        cases: dict[str, Callable[[], object]] = {
            name: partial(
                (bare if name == "none" else loaded).forward, packed(loaded, rows, length, adapters)
            )
            for name, adapters in ADAPTERS.items()
        }
        for name, kernel in kernels.items():
            cases[name] = products(loaded, shape, tokens, kernel)
        spent = measured(cases, rounds, loaded.device)
        all_flop = flop(shape, rows, length)
        rate = (all_flop - attention_flop(shape, rows, length)) / min(map(spent.get, kernels))
        result: dict[str, object] = {"rows": rows, "tokens_a_row": length}
        for name in ADAPTERS:
            result[f"{name}_tokens_per_s"] = round(tokens / spent[name])
        result["products_tflop_per_s"] = round(rate / 1e12, 3)
        result["one_of_matrix"] = round(all_flop / spent["one"] / matrix, 3)
        result["mixed_of_matrix"] = round(all_flop / spent["mixed"] / matrix, 3)
        result["one_ms"] = round(spent["one"] * 1e3, 2)
        result["none_share"] = round(all_flop / spent["none"] / rate, 3)
        result["mixed_share"] = round(all_flop / spent["mixed"] / rate, 3)
        result["mixed_of_one"] = round(spent["one"] / spent["mixed"], 3)
        result["one_of_none"] = round(spent["none"] / spent["one"], 3)
        results.append(result)
        print("  ".join(f"{value:>10}" for value in result.values()), flush=True)
    return results


def profile(loaded: Embedder, rows: int, length: int) -> None:
    """Where the time of a mixed batch goes, by torch operation."""
    batch = packed(loaded, rows, length, ADAPTERS["mixed"])
    loaded.forward(batch)
    with torch.profiler.profile() as seen:
        loaded.forward(batch)
    total = sum(event.self_cpu_time_total for event in seen.key_averages())
    by_time = sorted(seen.key_averages(), key=lambda event: -event.self_cpu_time_total)
    print(f"{rows} x {length}, mixed: share of time by operation")
    for event in by_time[:8]:
        print(f"  {event.self_cpu_time_total / total:6.1%}  {event.key}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="6x384")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    keep_freed_memory()  # as a worker does
    with tempfile.TemporaryDirectory() as folder:
        path = write_original(Path(folder) / "model", shape)
        loaded = embedder.load(path, options.device, options.dtype)
        print(f"{options.shape} on {loaded.device_name}, {loaded.dtype}, {loaded.attention}")
        print(
            "rows, tokens a row; tokens/s without adapters, with one, with five mixed; TFLOP/s of "
            "products alone; share of one and mixed in one large product's rate; ms of one; "
            "share in the products alone without adapters, mixed; mixed / one; one / without"
        )
        results = bench(loaded, shape, options.rounds)
        for rows, length in ((8, 512), (32, 16)) if loaded.device.type == "cpu" else ():
            profile(loaded, rows, length)
        facts = {"device": loaded.device_name, "dtype": loaded.dtype, "shape": options.shape}
    print(json.dumps({"bench": "model", **facts, "results": results}))


if __name__ == "__main__":
    main()
