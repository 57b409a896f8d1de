"""Both layouts are written as published; tests/checkpoints.py spells them independently."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model import embedder
from model.config import CheckpointError
from model.training import weights
from model.training.base import tensors_of
from model.training.export import cast, write_hf, write_original
from model.training.trainable_encoder import TrainableEncoder
from tests import checkpoints
from tests.checkpoints import MINI, Shape
from tests.conftest import random_row
from tests.reference import Reference

TOKENIZER = MINI / "tokenizer.json"


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of every file, by file and name."""
    return {
        f"{path.relative_to(folder)}: {name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def assert_same_tensors(found: Path, expected: Path) -> None:
    ours, theirs = tensors(found), tensors(expected)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
        assert ours[name].dtype == tensor.dtype, name


@pytest.mark.parametrize("source", ["original", "hf"])
def test_either_layout_becomes_either_layout(
    request: pytest.FixtureRequest, tmp_path: Path, original: Path, hf: Path, source: str
) -> None:
    read = weights.read(request.getfixturevalue(source))
    write_original(tmp_path / "original", read, TOKENIZER)
    write_hf(tmp_path / "hf", read, TOKENIZER)
    assert_same_tensors(tmp_path / "original", original)
    assert_same_tensors(tmp_path / "hf", hf)


def test_both_layouts_give_the_vectors_of_transformers_and_peft(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """With another rotary base than transformers' default, and an alpha that is not the rank."""
    shape = Shape(rotary_base=10000.0, alpha=2)
    source = weights.read(checkpoints.write_original(tmp_path / "source", shape))
    write_original(tmp_path / "original", source, TOKENIZER)
    write_hf(tmp_path / "hf", source, TOKENIZER)
    row = random_row(rng, 50, 1)
    expected = Reference(tmp_path / "hf").vectors(row)
    for layout in ("original", "hf"):
        found = embedder.load(tmp_path / layout, "cpu", "float32").embed([row])
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-4)


def test_the_embedded_model_is_written_as_it_stands(tmp_path: Path) -> None:
    write_original(tmp_path, weights.read(MINI), TOKENIZER)
    assert_same_tensors(tmp_path, MINI)
    expected = json.loads((MINI / "config.json").read_text())
    assert json.loads((tmp_path / "config.json").read_text()) == expected


def test_an_encoder_s_base_and_adapters_are_written_whole(tmp_path: Path, original: Path) -> None:
    read = weights.read(original)
    encoder = TrainableEncoder.from_weights(read, read.config.tasks)
    whole = weights.Weights(
        read.fields,
        tensors_of(encoder.base, read.config),
        {task: encoder.adapter(task) for task in read.config.tasks},
    )
    write_original(tmp_path, whole, TOKENIZER)
    ours, theirs = tensors(tmp_path), tensors(original)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        if "pooler" not in name:
            assert torch.equal(ours[name], tensor), name
    write_original(tmp_path, cast(whole, torch.float16), TOKENIZER)
    assert {tensor.dtype for tensor in tensors(tmp_path).values()} == {torch.float16}
    assert embedder.load(tmp_path).parameters > 0


def test_a_task_more_is_written_and_read(
    tmp_path: Path, original: Path, rng: np.random.Generator
) -> None:
    read = weights.read(original)
    torch.manual_seed(1)
    encoder = TrainableEncoder.from_weights(read, ["separation"])
    encoder.add("mine")
    fields = {
        **read.fields,
        "lora_adaptations": [*read.config.tasks, "mine"],
        "task_instructions": {**read.config.instructions, "mine": "Look: "},
    }
    adapters = {**read.adapters, "mine": encoder.adapter("mine")}
    for write in (write_hf, write_original):
        folder = tmp_path / write.__name__
        write(folder, replace(read, fields=fields, adapters=adapters), TOKENIZER)
        loaded = embedder.load(folder, "cpu", "float32")
        assert loaded.tasks.by_name("mine").instruction == "Look: "
        row = random_row(rng, 20, loaded.tasks.by_name("mine").adapter)
        base = embedder.load(original, "cpu", "float32").embed([replace(row, adapter=None)])
        np.testing.assert_allclose(loaded.embed([row]), base, atol=1e-5, rtol=1e-4)


def test_the_original_layout_has_no_place_for_three_a(tmp_path: Path, shape: Shape) -> None:
    read = weights.read(checkpoints.write_hf(tmp_path / "hf", shape, one_a=False))
    write_hf(tmp_path / "again", read, TOKENIZER)
    assert_same_tensors(tmp_path / "again", tmp_path / "hf")
    with pytest.raises(CheckpointError, match="q, k and v have an A each"):
        write_original(tmp_path / "original", read, TOKENIZER)


def test_another_user_can_read_what_is_written(tmp_path: Path, original: Path) -> None:
    """The service's user is often another than who trained."""
    write_hf(tmp_path, weights.read(original), TOKENIZER)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o004 for path in files)


def test_a_new_adapter_stands_beside_those_of_a_base_in_float8(tmp_path: Path) -> None:
    """As with quintet-mini: what is written in place of a pooler has no matrix's dtype."""
    read = weights.read(MINI)
    assert torch.float8_e4m3fn in {tensor.dtype for tensor in read.base.values()}
    torch.manual_seed(3)
    encoder = TrainableEncoder.from_weights(read, ["separation"])
    new = {"separation": encoder.adapter("separation")}
    whole = weights.Weights(read.fields, read.base, {**read.adapters, **new})
    write_hf(tmp_path, whole, TOKENIZER)
    loaded, before = (embedder.load(folder, "cpu", "float32") for folder in (tmp_path, MINI))
    for task in ("separation", "classification"):
        texts = ["Guten Morgen!", "a pooler"]
        np.testing.assert_allclose(
            loaded.embed_texts(texts, task), before.embed_texts(texts, task), atol=1e-5
        )
