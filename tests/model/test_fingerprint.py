"""A checkpoint whose files are damaged has no fingerprint, and a sentence says why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.config import CheckpointError, read_config
from model.fingerprint import digest_of_readers, fingerprint
from tests.checkpoints import Shape, write_hf

WEIGHTS = ("model.safetensors", "separation/adapter_model.safetensors")
Damage = Callable[[bytes], bytes]


@pytest.fixture
def folder(tmp_path: Path, shape: Shape) -> Path:
    return write_hf(tmp_path / "hf", shape)


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        fingerprint(folder, read_config(folder))
    return str(caught.value)


def first(**facts: Any) -> Damage:
    """Other facts of a file's first tensor in its header."""

    def damage(content: bytes) -> bytes:
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        name = next(name for name in header if name != "__metadata__")
        header[name] |= facts
        written = json.dumps(header).encode()
        return len(written).to_bytes(8, "little") + written + content[end:]

    return damage


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda _: b"", "ends early"),
        (lambda content: content[:100], "ends early"),
        (lambda content: content[: len(content) // 2], "where its header says"),
        (lambda content: b"\xff" * 8 + content[8:], "ends early"),
        (lambda content: b"\x02" + bytes(7) + b"[]" + content, "does not begin with an object"),
        (lambda content: b"\x02" + bytes(7) + b"{!" + content, "cannot be read"),
        (first(data_offsets=[0, 1 << 50]), "where its header says"),
        (first(data_offsets=None), "cannot be read"),
        (first(dtype=[]), "cannot be read"),
        (first(shape=None), "cannot be read"),
    ],
)
def test_a_damaged_file_of_weights_is_refused(
    folder: Path, name: str, damage: Damage, said: str
) -> None:
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    assert said in (sentence := refusal(folder))
    assert f"the weights in {folder} cannot be read" in sentence


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "zero-length"), ("[]", "list indices"), ("{}", "lora_alpha is not there")],
)
def test_a_damaged_adapter_config_is_refused(folder: Path, content: str, said: str) -> None:
    (folder / "separation" / "adapter_config.json").write_text(content)
    assert said in refusal(folder)


def test_a_missing_adapter_is_refused(folder: Path) -> None:
    (folder / "separation" / "adapter_model.safetensors").unlink()
    assert "adapter_model.safetensors: No such file or directory" in refusal(folder)


def test_a_missing_tokenizer_has_no_digest(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer.json cannot be read: No such file"):
        digest_of_readers(folder)
