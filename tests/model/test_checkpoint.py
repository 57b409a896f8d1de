"""Loading: every tensor exactly once, in both layouts, and refusal of wrong weights."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from model import embedder
from model.config import CheckpointError
from model.rows import Row
from tests.checkpoints import LORA_A, MINI, WEIGHT, Shape, random_tensors, write_hf, write_original
from tests.model.test_config import change_config, refusal

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def folder(tmp_path: Path, shape: Shape) -> Path:
    return write_original(tmp_path / "original", shape)


@pytest.fixture
def hf_folder(tmp_path: Path, shape: Shape) -> Path:
    return write_hf(tmp_path / "hf", shape)


def change_tensors(path: Path, change: Change) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    key = "roberta.encoder.layers.1.mlp.fc1" + LORA_A
    change_tensors(folder / "model.safetensors", lambda tensors: tensors.pop(key))
    assert key.removeprefix("roberta.") + " is missing in original/model.safetensors" in refusal(
        folder
    )


def test_a_tensor_too_many_is_named(folder: Path) -> None:
    def add(tensors: dict[str, Any]) -> None:
        tensors["roberta.embeddings.position_embeddings.weight"] = torch.zeros(4, 64)

    change_tensors(folder / "model.safetensors", add)
    assert "1 tensors in original/model.safetensors belong to nothing" in refusal(folder)


def test_a_tensor_that_is_there_twice_is_named(folder: Path) -> None:
    save_file({"emb_ln.bias": torch.zeros(64)}, folder / "model-2.safetensors")
    assert "the tensor emb_ln.bias is there twice" in refusal(folder)


def test_a_tensor_of_another_shape_is_named(hf_folder: Path) -> None:
    def grow(tensors: dict[str, Any]) -> None:
        tensors["encoder.layers.0.mlp.fc2.weight"] = torch.zeros(64, 129)

    change_tensors(hf_folder / "model.safetensors", grow)
    assert "has shape (64, 129); the config asks for (64, 128)" in refusal(hf_folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.float8_e5m2, torch.int64])
@pytest.mark.parametrize("name", ["roberta.encoder.layers.0.mlp.fc1", "embeddings"])
def test_numbers_that_are_no_weights_as_they_are_are_refused(
    folder: Path, name: str, dtype: torch.dtype
) -> None:
    def quantise(tensors: dict[str, Any]) -> None:
        (key,) = (each for each in tensors if name in each and each.endswith(WEIGHT))
        tensors[key] = tensors[key].to(dtype)

    name = name.replace("embeddings", "word_embeddings")
    change_tensors(folder / "model.safetensors", quantise)
    assert f"has numbers of the type {dtype}" in refusal(folder)


def test_weights_in_float64_are_read(folder: Path) -> None:
    expected = embedder.load(folder, "cpu", "float32").embed([row()])

    def widen(tensors: dict[str, Any]) -> None:
        tensors.update({key: tensor.double() for key, tensor in tensors.items()})

    change_tensors(folder / "model.safetensors", widen)
    np.testing.assert_allclose(
        embedder.load(folder, "cpu", "float32").embed([row()]), expected, atol=1e-6
    )


def test_a_weight_that_is_no_number_is_refused_before_a_text_comes(folder: Path) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors["roberta.encoder.layers.0.mlp.fc1" + WEIGHT][0, 0] = math.nan

    change_tensors(folder / "model.safetensors", spoil)
    with pytest.raises(CheckpointError, match="the vectors of an example are not finite"):
        embedder.load(folder, "cpu", "float32").warm_up()


def test_a_damaged_adapter_is_refused_with_a_sentence(hf_folder: Path) -> None:
    (hf_folder / "separation" / "adapter_config.json").write_text('{"r": 4')
    assert "separation/adapter_config.json is not valid JSON" in refusal(hf_folder)


def test_missing_adapters_are_refused(hf_folder: Path) -> None:
    (hf_folder / "separation" / "adapter_config.json").unlink()
    assert "adapter folders separation" in refusal(hf_folder)


def test_a_base_without_any_adapter_is_refused(folder: Path) -> None:
    def strip(tensors: dict[str, Any]) -> None:
        for key in list(tensors):
            tensor = tensors.pop(key)
            if "lora" not in key:
                tensors[key.replace(WEIGHT, ".weight")] = tensor

    change_tensors(folder / "model.safetensors", strip)
    assert "neither adapters among its weights" in refusal(folder)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"use_rslora": True}, "use_rslora is True"),
        ({"use_dora": True}, "use_dora is True"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA'"),
        ({"rank_pattern": {"fc1": 8}}, "rank_pattern is {'fc1': 8}"),
        ({"r": 8}, "adapters differ in (rank, alpha)"),
        ({"lora_alpha": 4}, "adapters differ in (rank, alpha)"),
        ({"r": [4]}, "r must be a positive whole number, not [4]"),
        ({"lora_alpha": "1"}, "lora_alpha must be a finite number over 0, not '1'"),
        ({"lora_alpha": math.nan}, "lora_alpha must be a finite number over 0, not nan"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"init_lora_weights": "olora"}, "init_lora_weights is 'olora'"),
        ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens is [5]"),
    ],
)
def test_another_variant_of_lora_is_refused(
    hf_folder: Path, fields: dict[str, Any], said: str
) -> None:
    path = hf_folder / "text_matching" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    assert said in refusal(hf_folder)


def test_an_adapters_rank_is_a_whole_number_and_no_flag(tmp_path: Path, shape: Shape) -> None:
    hf_folder = write_hf(tmp_path / "hf", replace(shape, rank=1))
    for path in hf_folder.glob("*/adapter_config.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "r": True}))
    assert "r must be a positive whole number, not True" in refusal(hf_folder)


def test_an_alpha_in_the_config_alone_must_be_that_of_the_adapters(hf_folder: Path) -> None:
    change_config(hf_folder, lora_rank=..., lora_alpha=2)
    assert "adapters differ in (rank, alpha)" in refusal(hf_folder)


def test_two_tasks_with_one_adapter_folder_are_refused(tmp_path: Path, shape: Shape) -> None:
    hf_folder = write_hf(tmp_path / "hf", replace(shape, tasks=("a.b", "c")))
    instructions = {"a.b": "", "a-b": "", "c": ""}
    change_config(hf_folder, lora_adaptations=[*instructions], task_instructions=instructions)
    assert "the tasks 'a.b' and 'a-b' would both have the adapter in hf/a_b" in refusal(hf_folder)


def test_an_hf_checkpoint_may_leave_rank_and_alpha_to_its_adapters(hf_folder: Path) -> None:
    expected = embedder.load(hf_folder, "cpu", "float32").embed([row()])
    change_config(hf_folder, lora_rank=..., lora_alpha=...)
    np.testing.assert_array_equal(
        embedder.load(hf_folder, "cpu", "float32").embed([row()]), expected
    )


def test_weights_in_several_files_and_without_the_roberta_prefix_load(
    folder: Path, shape: Shape
) -> None:
    expected = embedder.load(folder, "cpu", "float32").embed([row()])
    tensors = {key.removeprefix("roberta."): t for key, t in random_tensors(shape).items()}
    (folder / "model.safetensors").unlink()
    for part in (0, 1):
        keys = sorted(tensors)[part::2]
        save_file({key: tensors[key] for key in keys}, folder / f"model-{part}.safetensors")
    np.testing.assert_array_equal(embedder.load(folder, "cpu", "float32").embed([row()]), expected)


def row() -> Row:
    return Row.single_span(np.array([0, 9, 8, 7, 2], np.int32), 3)


def test_pickles_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "other formats are not read" in refusal(folder)


def test_damaged_files_are_refused_with_a_sentence(folder: Path, tmp_path: Path) -> None:
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(tokenizer[:1000])
    assert "tokenizer.json cannot be read: " in refusal(folder)
    (folder / "tokenizer.json").write_text(tokenizer)
    (folder / "model.safetensors").write_bytes(b"not a tensor")
    assert "cannot be read as safetensors" in refusal(folder)
    (folder / "config.json").write_text("{")
    assert "is not valid JSON" in refusal(folder)
    assert "has no config.json" in refusal(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="unknown dtype 'int4'"):
        embedder.load(MINI, dtype="int4")
    with pytest.raises(CheckpointError, match="unknown device 'tpu-9'"):
        embedder.load(MINI, device="tpu-9")
