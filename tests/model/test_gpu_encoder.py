"""The encoder on a GPU: its kernels, its memory as counted, and what may fail.

test_encoder.py compares their values with transformers and PEFT. A kernel for attention stands for
a GPU's here (tests/naive.py): nothing here says anything of speed.
"""

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import checkpoint, cuda_graphs, embedder
from model.embedder import Embedder
from model.gpu_encoder import GpuEncoder
from model.gpu_kernels import (
    TORCH_KERNELS,
    check_kernels,
    choose_kernels,
    torch_add_norm,
    torch_turn,
)
from model.gpu_runner import GpuRunner
from model.lora import LinearTensors
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
        for block in encoder._weights[adapter]
        for layer in (block.qkv, block.out, block.fc1, block.fc2)
    }
    assert sum(storages.values()) == encoder.merged_bytes


def test_adapters_are_merged_where_that_takes_half_of_the_free_memory_or_less(
    quintet: Embedder, machine: EmulatedCuda, caplog: pytest.LogCaptureFixture
) -> None:
    machine.free = 2 * encoder_of(quintet).merged_bytes - 1
    runner = runner_of(quintet)
    with caplog.at_level(logging.ERROR):
        runner.prepare("auto")
    assert str(runner).startswith("stacked adapters, kernels by torch's operations in ")
    assert "batches of one task are slower: that takes 0.0 GB, more than half" in caplog.text
    runner.prepare("stacked")
    assert str(runner).startswith("stacked adapters, ")
    runner.prepare("merged")
    assert str(runner).startswith("merged adapters, ")
    machine.free += 1
    quintet = embedder.load(Path(quintet.name), "cuda:0", "float32")
    quintet.warm_up()
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
        runner_of(quintet).prepare("merged")
    assert "adapters are not merged, so batches of one task are slower: CUDA out" in caplog.text
    assert encoder_of(quintet).modes == [NO_ADAPTER]
    np.testing.assert_allclose(quintet.embed(rows), expected, atol=1e-5)


def test_a_machine_without_triton_serves_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Or without a C compiler: Triton raises errors of many classes."""
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "model.triton_kernels", raising=False)
    kernels = choose_kernels(64, 16, torch.bfloat16, torch.device("cuda", 0))
    assert kernels is TORCH_KERNELS
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "no kernels in Triton, so all batches are slower: " in record.getMessage()


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_kernels_that_give_other_values_are_refused(factor: float) -> None:
    def turn(*arguments: torch.Tensor) -> torch.Tensor:
        return torch_turn(*arguments) * factor

    def add_norm(*arguments: Any) -> None:
        torch_add_norm(*arguments)
        arguments[-1].mul_(factor)

    check_kernels(TORCH_KERNELS, 64, 16, torch.float32, CPU)
    for broken in (replace(TORCH_KERNELS, turn=turn), replace(TORCH_KERNELS, add_norm=add_norm)):
        with pytest.raises(RuntimeError, match="they give other values: a difference of"):
            check_kernels(broken, 64, 16, torch.float32, CPU)


@pytest.mark.gpu
@pytest.mark.parametrize(("width", "head"), [(1024, 64), (384, 32), (256, 64), (96, 32)])
def test_tritons_kernels_give_what_torchs_operations_give(
    width: int, head: int, caplog: pytest.LogCaptureFixture
) -> None:
    for dtype in (torch.bfloat16, torch.float16):
        kernels = choose_kernels(width, head, dtype, torch.device("cuda", 0))
        assert kernels.name == "Triton", caplog.text


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
    # bfloat16 alone takes a row of three tokens to .99975; another adapter's vector is at .5.
    for found in (stacked, merged):
        cosines = (found * exact).sum(1) / np.linalg.norm(found, axis=1)
        cosines /= np.linalg.norm(exact, axis=1)
        assert cosines.min() > (0.999999 if dtype == "float32" else 0.999)
