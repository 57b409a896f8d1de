"""`verify` passes on the checkpoint whose values it knows, and on no other.

Values come from the independent implementation, in the form of model/golden.json.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from app.__main__ import main
from model.config import read_config
from model.rows import Row
from model.verify import GOLDEN
from tests.checkpoints import MINI, TASKS, Shape, random_tensors, shuffled_adapter, write_original
from tests.reference import Reference

TEXTS = ["How is the weather today?", "新しいメイクのトレンド", "x"]


@pytest.fixture(scope="module")
def golden(hf: Path, shape: Shape, tmp_path_factory: pytest.TempPathFactory) -> Path:
    reference = Reference(hf)
    ids = {text: _ids(text) for text in TEXTS}
    layer, tensors = "roberta.encoder.layers.0.", random_tensors(shape)
    weight = tensors[f"{layer}mlp.fc1.parametrizations.weight.original"]
    keys = tensors[f"{layer}mixer.Wqkv.parametrizations.weight.original"].chunk(3)[1]
    values: dict[str, Any] = {
        "token_ids": {"items": [{"text": text, "ids": row} for text, row in ids.items()]},
        "weights": {
            "items": {
                "blocks.0.fc1.weight": hashlib.sha256(weight.numpy()).hexdigest(),
                "blocks.0.qkv.weight[k]": hashlib.sha256(keys.numpy()).hexdigest(),
            }
        },
        "vectors": [],
        "hidden": [],
    }
    for adapter, task in enumerate(TASKS):
        for text, row in ids.items():
            hidden = reference.hidden(Row.single_span(np.array(row, np.int32), adapter))
            mean = hidden.mean(axis=0)
            first = (mean / np.linalg.norm(mean))[:16].tolist()
            values["vectors"].append(
                {"source": "", "task": task, "text": text, "first": first, "tolerance": 1e-5}
            )
            values["hidden"].append(
                {
                    "source": "the judge",
                    "task": task,
                    "ids": row,
                    "rows": [0, 2],
                    "columns": [1, 4],
                    "values": hidden[:2, 1:4].tolist(),
                    "tolerance": 1e-4,
                }
            )
    path = tmp_path_factory.mktemp("golden") / "golden.json"
    path.write_text(json.dumps(values))
    return path


def _ids(text: str) -> list[int]:
    encoding = tokenizers.Tokenizer.from_file(str(MINI / "tokenizer.json")).encode(text)
    return list(encoding.ids)


def run(folder: Path, golden: Path) -> int:
    return main(["verify", "--model", str(folder), "--golden", str(golden), "--device", "cpu"])


@pytest.mark.parametrize("layout", ["original", "hf"])
def test_passes_on_the_right_weights(
    layout: str, golden: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(request.getfixturevalue(layout), golden) == 0
    assert "35 of 35 agree" in capsys.readouterr().out


@pytest.mark.parametrize("adapter", range(5))
def test_fails_where_one_adapter_is_shuffled(
    adapter: int,
    golden: Path,
    shape: Shape,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tensors = shuffled_adapter(random_tensors(shape), adapter)
    assert run(write_original(tmp_path / "shuffled", shape, tensors), golden) == 1
    out = capsys.readouterr().out
    failed = [line for line in out.splitlines() if line.startswith("FAIL")]
    task = list(TASKS)[adapter]
    assert len(failed) == 2 * len(TEXTS)
    assert all(task in line for line in failed)


def test_fails_where_the_rotary_base_is_10000(golden: Path, shape: Shape, tmp_path: Path) -> None:
    other = replace(shape, rotary_base=10000.0)
    assert run(write_original(tmp_path / "base", other, random_tensors(shape)), golden) == 1


def test_fails_where_a_token_has_another_id(golden: Path, original: Path, tmp_path: Path) -> None:
    values = json.loads(golden.read_text())
    values["token_ids"]["items"][0]["ids"][1] += 1
    other = tmp_path / "golden.json"
    other.write_text(json.dumps(values))
    assert run(original, other) == 1


def test_there_is_nothing_to_compare_another_model_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["verify", "--model", "quintet-mini", "--device", "cpu"]) == 2
    out = capsys.readouterr().out
    assert out.startswith("quintet-mini is another model than the published values are of: ")
    assert "its num_layers is 12 and not 24" in out
    assert out.endswith("There is nothing to compare it with.\n")
    assert "FAIL" not in out


def test_a_model_of_the_published_shape_is_compared(
    golden: Path, original: Path, shape: Shape, tmp_path: Path
) -> None:
    """Which fails if its weights are others."""
    values = json.loads(golden.read_text())
    names = ("vocab_size", "hidden_size", "num_layers", "num_heads", "intermediate_size")
    config = read_config(original)
    values["shape"] = {name: getattr(config, name) for name in names}
    other = tmp_path / "golden.json"
    other.write_text(json.dumps(values))
    assert run(original, other) == 0
    tensors = shuffled_adapter(random_tensors(shape), 0)
    assert run(write_original(tmp_path / "shuffled", shape, tensors), other) == 1
    assert {*json.loads(GOLDEN.read_text())["shape"]} == {*names}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory."),
        ("{", "is not JSON: "),
        ("[" * 100_000, "is not JSON: "),
        ("{}", "must have hidden, "),
    ],
)
def test_values_that_cannot_be_read_are_a_sentence(
    content: str | None,
    said: str,
    original: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    golden = tmp_path / "golden.json"
    if content is not None:
        golden.write_text(content)
    assert run(original, golden) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert said in err


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("shape", ["vocab_size"]),
        ("shape", {"depth": 3}),
        ("token_ids", {}),
        ("token_ids", {"items": [{"text": "x"}]}),
        ("token_ids", {"items": [{"text": "x " * 9000, "ids": [0, 2]}]}),
        ("weights", {"items": ["blocks.0.fc1.weight"]}),
        ("weights", {"items": {"blocks.9.fc1.weight": ""}}),
        ("hidden", 3),
        ("hidden", [{"source": "the judge", "task": None, "ids": []}]),
        ("vectors", [{"task": "separation", "text": "x", "first": None, "tolerance": 1}]),
    ],
)
def test_values_of_another_form_are_a_sentence(
    golden: Path,
    original: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    part: str,
    value: Any,
) -> None:
    other = tmp_path / "golden.json"
    other.write_text(json.dumps({**json.loads(golden.read_text()), part: value}))
    assert run(original, other) == 1
    assert f"error: {other} is not in the form of golden.json (" in capsys.readouterr().err
