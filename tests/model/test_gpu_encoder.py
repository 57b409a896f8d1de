"""The encoder as functions of tensors: compiled once, in memory as counted, and what may fail.

test_encoder.py compares their values with transformers and PEFT. A kernel for attention stands for
a GPU's here (tests/naive.py): nothing here says anything of speed.
"""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from model import checkpoint, cuda_graphs, embedder
from model.embedder import Embedder
from model.gpu_encoder import GpuEncoder
from model.gpu_functions import Functions
from model.gpu_runner import GpuRunner
from model.lora import LinearTensors
from model.packing import pack
from model.rows import NO_ADAPTER
from tests.checkpoints import Shape
from tests.conftest import random_row
from tests.emulated_cuda import EmulatedCuda
from tests.naive import by_row_starts

CPU = torch.device("cpu")


@pytest.fixture
def quintet(original: Path, monkeypatch: pytest.MonkeyPatch) -> Embedder:
    """A small model that runs on a CPU as on a GPU."""
    monkeypatch.setattr(checkpoint, "choose_attention", by_row_starts)
    return embedder.load(original, "cpu", "float32")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> EmulatedCuda:
    machine = EmulatedCuda(1)
    machine.install(lambda *each: monkeypatch.setattr(*each, raising=False))
    monkeypatch.setattr(cuda_graphs, "SIZES", ())
    return machine


def runner_of(quintet: Embedder) -> GpuRunner:
    assert quintet._gpu is not None
    return quintet._gpu


def encoder_of(quintet: Embedder) -> GpuEncoder:
    return runner_of(quintet)._encoder


def test_the_functions_are_compiled_once_for_batches_of_all_sizes(
    quintet: Embedder, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    torch._dynamo.reset()
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(compile_with, torch.compile, counter))
    example = pack([random_row(rng, length, length % 5) for length in (23, 13, 11)], CPU)
    encoder_of(quintet).merge()
    with torch.inference_mode():
        runner_of(quintet)._compile(example)
    assert str(runner_of(quintet)).startswith("merged adapters, compiled in ")
    compiled = counter.frame_count
    assert compiled == 2 * len(Functions._fields)  # with one adapter, and with several
    for _ in range(60):
        lengths = rng.integers(2, rng.choice([4, 30, 200]), rng.integers(1, 20)).tolist()
        adapters = [2] * 20 if rng.random() < 0.5 else [None, 0, 4, 3] * 5
        rows = [random_row(rng, *row) for row in zip(lengths, adapters, strict=False)]
        quintet.forward(pack(rows, CPU))
    assert counter.frame_count == compiled


def compile_with(compiler: object, backend: object, function: object, **_: object) -> object:
    """torch.compile that does nothing but count."""
    return compiler(function, backend=backend, dynamic=True)  # type: ignore[operator]


def test_merged_weights_take_the_memory_that_is_counted(quintet: Embedder, shape: Shape) -> None:
    encoder = encoder_of(quintet)
    width, inner = shape.width, shape.inner
    block = 3 * width * width + width * width + 2 * width * inner
    assert encoder.merged_bytes == len(shape.tasks) * shape.layers * block * 4
    assert encoder.modes == [NO_ADAPTER]
    encoder.merge()
    assert encoder.modes == [NO_ADAPTER, 0, 1, 2, 3, 4]
    storages = {
        layer.weight.untyped_storage().data_ptr(): layer.weight.untyped_storage().nbytes()
        for adapter in range(5)
        for weights in encoder._weights[adapter]
        for layer in weights
        if isinstance(layer, LinearTensors)
    }
    assert sum(storages.values()) == encoder.merged_bytes


def test_adapters_are_merged_where_that_takes_half_of_the_free_memory_or_less(
    quintet: Embedder, machine: EmulatedCuda, caplog: pytest.LogCaptureFixture
) -> None:
    machine.free = 2 * encoder_of(quintet).merged_bytes - 1
    runner = runner_of(quintet)
    with caplog.at_level(logging.ERROR):
        runner.prepare("auto", compiled=False)
    assert str(runner).startswith("stacked adapters, not compiled, ")
    assert "batches of one task are slower: that takes 0.0 GB, more than half" in caplog.text
    runner.prepare("stacked", compiled=False)
    assert str(runner).startswith("stacked adapters, ")
    runner.prepare("merged", compiled=False)
    assert str(runner).startswith("merged adapters, ")
    machine.free += 1
    quintet = embedder.load(Path(quintet.name), "cuda:0", "float32")
    quintet.warm_up(compiled=False)
    assert "emulated GPU 0 of 1 seen, merged adapters, " in quintet.device_name


def test_a_gpu_that_runs_out_of_memory_while_it_merges_serves_with_stacked_adapters(
    quintet: Embedder,
    machine: EmulatedCuda,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    rng: np.random.Generator,
) -> None:
    rows = [random_row(rng, length, 3) for length in (9, 100)]
    expected = quintet.embed(rows)
    merge = type(quintet.encoder.blocks[1].fc1).merged_tensors

    def full(layer: object, adapter: int) -> LinearTensors:
        if adapter == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 MiB.")
        return merge(layer, adapter)

    monkeypatch.setattr(type(quintet.encoder.blocks[1].fc1), "merged_tensors", full)
    with caplog.at_level(logging.ERROR):
        runner_of(quintet).prepare("merged", compiled=False)
    assert "adapters are not merged, so batches of one task are slower: CUDA out" in caplog.text
    assert encoder_of(quintet).modes == [NO_ADAPTER]
    np.testing.assert_allclose(quintet.embed(rows), expected, atol=1e-5)


def test_a_machine_without_a_compiler_serves_and_says_so(
    quintet: Embedder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    rng: np.random.Generator,
) -> None:
    def backend(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")

    rows = [random_row(rng, length, length % 5) for length in (9, 100)]
    expected = quintet.embed(rows)
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(compile_with, torch.compile, backend))
    example = quintet.pack(rows)
    with caplog.at_level(logging.ERROR), torch.inference_mode():
        runner_of(quintet)._compile(example)
    (record,) = caplog.records
    assert "not compiled, so all batches are slower: " in record.getMessage()
    assert "Failed to find C compiler" in record.getMessage()
    assert ", not compiled, " in str(runner_of(quintet))
    np.testing.assert_allclose(quintet.embed(rows), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_vector_does_not_depend_on_how_adapters_are_computed(
    original: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, dtype: str
) -> None:
    monkeypatch.setattr(checkpoint, "choose_attention", by_row_starts)
    quintet = embedder.load(original, "cpu", dtype)
    rows = [random_row(rng, int(length), 1) for length in rng.integers(2, 300, 9)]
    other = [random_row(rng, 40, adapter) for adapter in (0, None)]
    exact = embedder.load(original, "cpu", "float32").embed([*rows, *other])
    stacked = quintet.embed([*rows, *other])
    encoder_of(quintet).merge()
    merged = np.concatenate([quintet.embed(rows), quintet.embed(other)])
    for found in (stacked, merged):
        cosines = (found * exact).sum(1) / np.linalg.norm(found, axis=1)
        cosines /= np.linalg.norm(exact, axis=1)
        assert cosines.min() > (0.999999 if dtype == "float32" else 0.9999)
