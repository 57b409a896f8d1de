"""Precision: which numbers a dtype's name stands for, and whole models in float16."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model import embedder, precision
from model.config import CheckpointError
from model.devices import best_dtype
from model.linear_kernels import TorchLinear
from model.precision import Precision, precision_named
from tests.checkpoints import (
    LORA_A,
    LORA_B,
    WEIGHT,
    Shape,
    random_tensors,
    write_hf,
    write_original,
)
from tests.conftest import random_row, unit_rows
from tests.reference import Reference

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
ADAPTERS = [None, 0, 1, 2, 3, 4]


def test_names_stand_for_the_dtypes_of_weights_and_of_everything_else() -> None:
    assert precision_named("float32", CPU, 1024) == Precision("float32", torch.float32)
    assert precision_named("bfloat16", CPU, 1024) == Precision("bfloat16", torch.bfloat16)
    assert precision_named("float16", CPU, 64) == Precision("float16", torch.float32)
    assert precision_named("float16", GPU, 1024) == Precision("float16", torch.float16)
    assert precision_named("int8", CPU, 1024) == Precision("int8", best_dtype(CPU))
    with pytest.raises(CheckpointError, match=r"unknown dtype 'int4'; choose float32, .* or auto"):
        precision_named("int4", CPU, 1024)


def test_auto_has_float16_for_wide_encoders_where_that_was_measured_to_pay() -> None:
    best = str(best_dtype(CPU)).removeprefix("torch.")
    avx2_only = torch.backends.cpu.get_cpu_capability() == "AVX2"
    assert precision_named("auto", CPU, 384).weights == best
    assert precision_named("auto", CPU, 512).weights == ("float16" if avx2_only else best)
    assert precision_named("auto", CPU, 1024).activations == best_dtype(CPU)


class OfAnotherTorch(TorchLinear):
    """A private operation that is no longer there."""

    def __init__(self, *_: Tensor | None, gelu: bool = False) -> None:
        raise AttributeError(f"no linear_prepack_fp16 for {gelu}")


def test_a_torch_without_fbgemm_computes_in_float16_itself_and_picks_another_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "FbgemmLinear", OfAnotherTorch)
    assert precision_named("float16", CPU, 1024) == Precision("float16", torch.float16)
    assert precision_named("auto", CPU, 1024) == Precision(
        str(best_dtype(CPU)).removeprefix("torch."), best_dtype(CPU)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in bfloat16, as the published one is."""
    return write_hf(tmp_path_factory.mktemp("half") / "hf", Shape(dtype=torch.bfloat16, seed=5))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_weights_in_float16_give_the_vectors_of_transformers_with_peft(
    folder: Path, dtype: str, rng: np.random.Generator
) -> None:
    """Float32's bound, since bfloat16's numbers hardly ever have to be rounded to float16."""
    quintet = embedder.load(folder, "cpu", dtype)
    assert quintet.dtype == dtype
    lengths = rng.integers(2, 150, 18)
    rows = [random_row(rng, int(length), ADAPTERS[at % 6], 2) for at, length in enumerate(lengths)]
    reference = Reference(folder)
    expected = np.concatenate([reference.vectors(row) for row in rows])
    for found in (quintet.embed(rows), np.concatenate([quintet.embed([row]) for row in rows])):
        assert (unit_rows(found) * unit_rows(expected)).sum(axis=1).min() >= 0.999999


def test_batches_are_padded_only_for_kernels_that_are_prepared_by_the_number_of_tokens(
    folder: Path, rng: np.random.Generator
) -> None:
    rows = [random_row(rng, 17, 2)]
    for dtype, tokens in {"float16": 17, "float32": 20, "bfloat16": 20}.items():
        assert len(embedder.load(folder, "cpu", dtype).pack(rows).token_ids) == tokens


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_words_stay_in_the_files_dtype_beside_float32_and_have_the_same_vectors(
    tmp_path: Path, stored: torch.dtype, dtype: str, rng: np.random.Generator
) -> None:
    shape = Shape(dtype=stored)
    tensors = random_tensors(shape)
    rows = [random_row(rng, 40, adapter) for adapter in ADAPTERS]
    found = embedder.load(write_original(tmp_path / "stored", shape, tensors), "cpu", dtype)
    assert found.encoder.embedding.word.dtype == stored
    whole = {name: tensor.float() for name, tensor in tensors.items()}
    folder = write_original(tmp_path / "whole", replace(shape, dtype=torch.float32), whole)
    expected = embedder.load(folder, "cpu", dtype)
    np.testing.assert_allclose(found.embed(rows), expected.embed(rows), atol=1e-5)


def test_a_checkpoint_whose_weights_float16_cannot_hold_is_refused_with_what_to_choose(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path = write_original(tmp_path / "large", Shape()) / "model.safetensors"
    tensors = load_file(path)
    name = "roberta.encoder.layers.1.mlp.fc2"
    tensors[name + WEIGHT][3, 4] = 70_000
    save_file(tensors, path)
    with pytest.raises(
        CheckpointError,
        match=r"layers\.1\.mlp\.fc2: a weight of 7e\+04 is out of the range of float16; choose",
    ):
        embedder.load(path.parent, "cpu", "float16")
    assert np.isfinite(
        embedder.load(path.parent, "cpu", "float32").embed([random_row(rng, 9, 2)])
    ).all()


def test_weights_that_only_merging_takes_out_of_range_stay_stacked(
    tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_original(tmp_path / "large", Shape()) / "model.safetensors"
    tensors = load_file(path)
    name = "roberta.encoder.layers.1.mlp.fc2"
    tensors[name + WEIGHT][3] = 65_000
    tensors[name + LORA_A][2] = 1
    tensors[name + LORA_B][2, 3] = 1_000
    save_file(tensors, path)
    quintet = embedder.load(path.parent, "cpu", "float16")
    rows = [random_row(rng, 1000, 2) for _ in range(8)]
    vectors = [quintet.embed(rows) for _ in range(4)]
    assert all(np.array_equal(each, vectors[0]) for each in vectors)
    assert "weights are not merged" in caplog.text
    assert "out of the range of float16" in caplog.text
    with pytest.raises(
        CheckpointError, match=r"adapters cannot be merged: a weight of 6\.6e\+04 is"
    ):
        embedder.load(path.parent, "cpu", "float16").warm_up(adapters="merged")
