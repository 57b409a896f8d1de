"""Batches padded up to a fixed shape, and the graphs that replay them."""

import logging
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from model import checkpoint, cuda_graphs, embedder
from model.cuda_graphs import attention_blocks, shapes
from model.embedder import Embedder
from model.packing import BatchShape, PackedBatch, pack
from model.rows import Row
from tests.checkpoints import MINI
from tests.conftest import random_row
from tests.emulated_cuda import EmulatedCuda, Graph, watch
from tests.naive import by_row_starts

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def precise() -> Embedder:
    return embedder.load(MINI, "cpu", "float32")


@pytest.mark.parametrize("lengths", [[2], [32], [2] * 16, [9, 2, 13], [7, 7, 7, 3], [30, 2]])
def test_padding_to_a_shape_changes_no_vector(
    precise: Embedder, rng: np.random.Generator, lengths: list[int]
) -> None:
    rows = [random_row(rng, length, at % 5 if at else None) for at, length in enumerate(lengths)]
    expected = precise.forward(pack(rows, precise.device))
    for shape in (BatchShape(32, 17, 32), BatchShape(64, 33, 32), BatchShape(128, 40, 33)):
        full = pack(rows, precise.device, lambda *_, shape=shape: shape)
        assert len(full.token_ids) == len(full.positions) == len(full.adapters) == shape.tokens
        assert len(full.row_starts) == shape.rows + 1
        assert full.row_starts[-1] == shape.tokens
        assert full.row_starts.diff().max() <= full.longest == shape.longest
        assert len(full.inputs) == 3 * shape.tokens + shape.rows + 1
        torch.testing.assert_close(precise.forward(full), expected, atol=1e-5, rtol=0)


def test_each_batch_is_padded_to_the_smallest_shape_that_it_fits() -> None:
    rng = np.random.default_rng(0)
    found = shapes()
    assert [shape.tokens for shape in found] == sorted(shape.tokens for shape in found)
    for _ in range(3000):
        lengths = rng.integers(2, rng.choice([20, 150, 600, 4000]), rng.integers(1, 200))
        batch = int(lengths.sum()), len(lengths), int(lengths.max())
        chosen = next((shape for shape in found if shape.fits(*batch)), None)
        if chosen is None:
            continue
        rows = [Row.single_span(np.zeros(length, np.int32), 1) for length in lengths]
        packed = pack(rows, CPU, lambda *_, chosen=chosen: chosen)
        assert packed.row_starts[-1] == chosen.tokens
        assert packed.row_starts.diff().max() <= chosen.longest


def test_what_is_usual_fits_a_shape_that_wastes_little() -> None:
    def wasted(tokens: int, rows: int, longest: int) -> float:
        return next(each for each in shapes() if each.fits(tokens, rows, longest)).tokens / tokens

    assert wasted(16, 1, 16) == 2
    assert wasted(640, 40, 24) == 1.2
    assert wasted(1024, 8, 128) == 1
    assert wasted(4096, 32, 128) == wasted(4096, 8, 512) == wasted(4096, 1, 4096) == 1
    assert not any(each.fits(4097, 300, 20) for each in shapes())


def test_attention_is_launched_for_few_tokens_that_are_not_there() -> None:
    """At 2,048 tokens the design before had 16,400 blocks, of which 16 to 1,024 had a token."""
    for shape in shapes():
        assert attention_blocks(shape) <= max(65, shape.tokens / 6)
    assert attention_blocks(BatchShape(2048, 1025, 2048)) == 16_400


def recordable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, machine: EmulatedCuda, device: str = "cuda:0"
) -> Embedder:
    """A small model on an emulated GPU, whose passes are recorded in two sizes."""
    machine.install(lambda *each: monkeypatch.setattr(*each, raising=False))
    monkeypatch.setattr(cuda_graphs, "SIZES", (32, 64))
    monkeypatch.setattr(checkpoint, "choose_attention", by_row_starts)
    loaded = embedder.load(folder, device, "float32")
    assert loaded._gpu is not None
    watch(machine, loaded._gpu._encoder)
    return loaded


def test_emulated_recordings_read_the_batch_that_is_given(
    original: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    loaded = recordable(original, monkeypatch, EmulatedCuda(1))
    lengths = [2], [32], [2] * 16, [40, 9], [64], [60, 60]
    all_rows = [[random_row(rng, size, at % 5) for at, size in enumerate(each)] for each in lengths]
    expected = [loaded.embed(rows) for rows in all_rows]
    loaded.warm_up()
    assert "emulated GPU 0 of 1 seen, merged adapters, kernels by torch" in loaded.device_name
    assert ", 12 CUDA graphs in " in loaded.device_name
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
    replay = Graph.replay

    def broken(graph: Graph) -> None:
        replay(graph)
        with torch.inference_mode():
            graph.again.args[-1].neg_()

    monkeypatch.setattr(Graph, "replay", broken)
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
    assert loaded.device_name.startswith("cuda:1, emulated GPU 1 of 2 seen, merged adapters, ")


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
@pytest.mark.parametrize("adapters", ["merged", "stacked"])
def test_graphs_give_what_a_gpu_gives_in_float32_step_by_step(
    rng: np.random.Generator, adapters: Literal["merged", "stacked"]
) -> None:
    """Batches of every shape, with one adapter and with several."""
    batches = []
    for shape in shapes():
        for lengths in (
            [min(shape.tokens, shape.longest)],
            [min(shape.tokens // shape.rows + 1, shape.longest)] * (shape.rows // 2),
            rng.integers(2, min(shape.longest, shape.tokens // 3) + 1, 3).tolist(),
        ):
            one = int(rng.integers(5)) if rng.random() < 0.5 else None
            batches.append(
                [
                    random_row(rng, length, int(rng.integers(5)) if one is None else one)
                    for length in lengths
                ]
            )
    exact = embedder.load(MINI, "cuda:0", "float32")
    expected = [torch.from_numpy(exact.embed(rows)) for rows in batches]
    quintet = embedder.load(MINI, "cuda:0", "bfloat16")
    quintet.warm_up(adapters=adapters)
    assert f"{adapters} adapters, kernels by Triton in" in quintet.device_name
    assert "CUDA graphs in" in quintet.device_name
    used, cosines = set(), []
    for rows, vectors in zip(batches, expected, strict=True):
        batch = quintet.pack(rows)
        used.add(batch.shape)
        cosines.append(torch.cosine_similarity(quintet.forward(batch).cpu(), vectors))
        assert cosines[-1].min() > 0.98, (batch.shape, len(rows))
    assert torch.cat(cosines).mean() > 0.999
    assert None not in used
    assert len(used) > len(shapes()) / 2
