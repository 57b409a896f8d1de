"""Batches padded up to a fixed shape, and the graphs that replay them."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from model import cuda_graphs, embedder
from model.attention import Attention
from model.cuda_graphs import SIZES, padded
from model.embedder import Embedder
from model.packing import PackedBatch, pack
from tests.bench import bench_model
from tests.checkpoints import MINI, Shape
from tests.conftest import random_row
from tests.emulated_cuda import EmulatedCuda, Graph, watch
from tests.naive import naive_attention


@pytest.fixture(scope="module")
def precise() -> Embedder:
    return embedder.load(MINI, "cpu", "float32")


@pytest.mark.parametrize("lengths", [[2], [32], [2] * 16, [9, 2, 13], [7, 7, 7, 3]])
def test_filling_up_changes_no_vector(
    precise: Embedder, rng: np.random.Generator, lengths: list[int]
) -> None:
    rows = [random_row(rng, length, at % 5 if at else None) for at, length in enumerate(lengths)]
    batch = pack(rows, precise.device)
    expected = precise.forward(batch)
    for size in (32, 64):
        full = padded(batch, size)
        assert len(full.token_ids) == len(full.positions) == len(full.adapters) == size
        assert len(full.row_starts) == size // 2 + 2
        assert full.row_starts[-1] == size
        torch.testing.assert_close(precise.forward(full), expected, atol=1e-5, rtol=0)


def test_what_fits_no_size_is_refused(precise: Embedder, rng: np.random.Generator) -> None:
    with pytest.raises(AssertionError, match="33 tokens does not fit into 32"):
        padded(pack([random_row(rng, 33, None)], precise.device), 32)


def recordable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, machine: EmulatedCuda, device: str = "cuda:0"
) -> Embedder:
    """A small model on an emulated GPU, whose passes are recorded in two sizes."""
    machine.install(lambda *each: monkeypatch.setattr(*each, raising=False))
    monkeypatch.setattr(cuda_graphs, "SIZES", (32, 64))
    loaded = embedder.load(folder, device, "float32")
    loaded.encoder.attention = Attention("by row starts", naive_attention, recordable=True)
    watch(machine, loaded.encoder)
    return loaded


def test_emulated_recordings_read_the_batch_that_is_given(
    original: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    loaded = recordable(original, monkeypatch, EmulatedCuda(1))
    lengths = [2], [32], [2] * 16, [40, 9], [64], [60, 60]
    all_rows = [[random_row(rng, size, at % 5) for at, size in enumerate(each)] for each in lengths]
    expected = [loaded.embed(rows) for rows in all_rows]
    loaded.warm_up()
    assert loaded.device_name == "cuda:0, emulated GPU 0 of 1 seen, with CUDA graphs"
    for rows, vectors in zip(all_rows, expected, strict=True):
        np.testing.assert_allclose(loaded.embed(rows), vectors, atol=1e-5)


@pytest.mark.parametrize("fail_at", [0, 1])
@pytest.mark.parametrize("fail", ["warm up", "begin", "body", "end"])
def test_a_recording_that_fails_leaves_everything_on_the_stream_from_before(
    original: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    rng: np.random.Generator,
    fail: str,
    fail_at: int,
) -> None:
    """Where torch.cuda.graph leaves its own stream, batches would be computed there and copied on
    the default one, in no order."""
    rows = [random_row(rng, length, at % 5) for at, length in enumerate((7, 7, 3, 12))]
    expected = embedder.load(original, "cpu", "float32").embed(rows)
    machine = EmulatedCuda(1, fail, fail_at)
    loaded = recordable(original, monkeypatch, machine)
    with caplog.at_level(logging.ERROR):
        loaded.warm_up()
    assert (
        f"no CUDA graphs, so short queries are slower: CUDA error: emulated, {fail}" in caplog.text
    )
    assert loaded.device_name.endswith("without CUDA graphs")
    assert machine.recordings == fail_at
    assert machine.stream is machine.default
    machine.passes.clear()
    np.testing.assert_allclose(loaded.embed(rows), expected, atol=1e-5)
    assert machine.passes == [(0, machine.default.number)]


def test_a_device_that_a_failed_recording_has_damaged_is_not_used(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = recordable(original, monkeypatch, EmulatedCuda(1, "end"))

    def damage(_: Graph) -> None:
        with torch.inference_mode():
            loaded.encoder.embedding.word.neg_()
        raise torch.AcceleratorError("CUDA error: emulated")

    monkeypatch.setattr(Graph, "capture_end", damage)
    with pytest.raises(RuntimeError, match="gives other values after graphs were recorded"):
        loaded.warm_up()


def test_graphs_that_give_other_values_are_not_used(
    original: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = recordable(original, monkeypatch, EmulatedCuda(1))
    hidden: list[torch.Tensor] = []
    loaded.encoder.register_forward_hook(lambda _, __, out: hidden.append(out))

    def replay(_: Graph) -> None:
        with torch.inference_mode():
            hidden[-1].neg_()

    monkeypatch.setattr(Graph, "replay", replay)
    loaded.warm_up()
    assert "gives other values when it is replayed" in caplog.text
    assert loaded.device_name.endswith("without CUDA graphs")


def test_all_that_is_computed_and_recorded_is_on_the_gpu_that_was_asked_for(
    original: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """In one process, whose current GPU is and stays another one."""
    machine = EmulatedCuda(2)
    loaded = recordable(original, monkeypatch, machine, "cuda:1")
    loaded.warm_up()
    loaded.embed([random_row(rng, 9, 1), random_row(rng, 70, None)])
    assert {stream.gpu for stream in machine.made} == {1}
    assert set(machine.pinned) == {1}
    assert {gpu for gpu, _ in machine.passes} == {1}
    assert machine.current == 0
    assert loaded.device_name == "cuda:1, emulated GPU 1 of 2 seen, with CUDA graphs"


def test_warming_up_meets_the_largest_batch_and_the_longest_text(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EmulatedCuda(1).install(lambda *each: monkeypatch.setattr(*each, raising=False))
    loaded = embedder.load(original, "cuda:0", "float32")
    seen: list[tuple[int, int]] = []
    loaded.encoder.register_forward_pre_hook(
        lambda _, arguments: seen.append((len(arguments[0].token_ids), arguments[0].longest))
    )
    loaded.warm_up(10_000)
    assert seen == [(32, 16), (10_000, 16), (8192, 8192)]


def test_the_bench_measures_recorded_passes(
    original: Path, monkeypatch: pytest.MonkeyPatch, shape: Shape
) -> None:
    machine = EmulatedCuda(1)
    loaded = recordable(original, monkeypatch, machine, "cpu")
    monkeypatch.setattr(bench_model, "BATCHES", [(2, 8)])
    bench_model.bench(loaded, shape, rounds=1)
    with_and_without_adapters = 2
    assert machine.recordings == with_and_without_adapters * len(cuda_graphs.SIZES)


def test_a_batch_that_does_not_fit_is_said_before_the_first_request(
    original: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    EmulatedCuda(1).install(lambda *each: monkeypatch.setattr(*each, raising=False))
    loaded = embedder.load(original, "cuda:0", "float32")

    def full(_: torch.nn.Module, arguments: tuple[PackedBatch]) -> None:
        if len(arguments[0].token_ids) > 9000:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a lot.")

    loaded.encoder.register_forward_pre_hook(full)
    loaded.warm_up(10_000)
    assert "10000 tokens do not fit into the memory of cuda:0, emulated GPU 0" in caplog.text
    assert "8192 tokens" not in caplog.text


@pytest.mark.gpu
def test_graphs_give_what_the_encoder_gives(rng: np.random.Generator) -> None:
    quintet = embedder.load(MINI, "cuda:0", "bfloat16")
    batches = [
        [random_row(rng, int(length), int(rng.integers(5))) for length in lengths]
        for size in SIZES
        for lengths in ([size], [2] * (size // 2), rng.integers(2, size // 4, 3))
    ]
    eager = [quintet.embed(rows) for rows in batches]
    quintet.warm_up()
    assert quintet.device_name.endswith("with CUDA graphs")
    for rows, expected in zip(batches, eager, strict=True):
        cosines = torch.cosine_similarity(
            torch.from_numpy(quintet.embed(rows)), torch.from_numpy(expected)
        )
        assert cosines.min() > 0.9999
