"""What a training cannot write, or cannot go on with, is a sentence."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from model.training.errors import TrainingError
from model.training.mini.stages import Stages
from model.training.mini.teacher import Teacher
from model.training.mini.teacher_file import TeacherFile
from model.training.run_folder import RunFolder
from tests.model.training.mini.corpus import write_teacher

FULL = Path("/dev/full")


@pytest.fixture
def run_folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "out")
    run.claim({"seed": 0})
    run.save({"state": {}, "now": {}, "best": {}, "optimizers": []})
    return run


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: content[:100],
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"optimizers", b"optimizerz"),
        lambda _: b"no archive",
    ],
)
def test_a_damaged_state_is_a_sentence(
    run_folder: RunFolder, damage: Callable[[bytes], bytes]
) -> None:
    assert run_folder.load() is not None
    path = run_folder.out / "training" / "state.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TrainingError, match=r"state\.pt is damaged; delete it, and the same"):
        run_folder.load()


@pytest.mark.parametrize("content", ["", "{", "[]", "\ud800"])
def test_damaged_settings_are_a_sentence(run_folder: RunFolder, content: str) -> None:
    path = run_folder.out / "training" / "settings.json"
    path.write_text(content, errors="surrogatepass")
    with pytest.raises(TrainingError, match=r"settings\.json is damaged; name a new folder"):
        run_folder.claim({"seed": 0})


def test_a_log_is_kept_up_to_a_damaged_line(run_folder: RunFolder) -> None:
    path = run_folder.out / "training" / "log.jsonl"
    path.write_bytes(b'{"step": 0}\n{"step": 1}\n[]\n{"step": 2}\n\xff\n')
    run_folder.truncate_log(2)
    assert path.read_bytes() == b'{"step": 0}\n{"step": 1}\n'


def test_a_stage_that_cannot_be_written_or_read_is_a_sentence(tmp_path: Path) -> None:
    stages = Stages(tmp_path, Accelerator(), seed=0)
    (tmp_path / "stages.jsonl").symlink_to(FULL)
    with pytest.raises(TrainingError, match=r"cannot write to .*: No space left on device"):
        stages.made("one", lambda: ({}, {}))
    (tmp_path / "stages.jsonl").unlink()
    (tmp_path / "two.new").mkdir()
    with pytest.raises(TrainingError, match="cannot write to"):
        stages.made("two", lambda: ({"a": torch.zeros(2)}, {"loss": math.pi}))
    (tmp_path / "three.safetensors").write_bytes(b"cut off")
    with pytest.raises(TrainingError, match=r"three\.safetensors is damaged; delete it"):
        stages.made("three", lambda: ({}, {}))


def test_a_teachers_vectors_that_cannot_be_written_or_read_are_a_sentence(tmp_path: Path) -> None:
    teacher = Teacher(TeacherFile(write_teacher(tmp_path / "teacher.bin")), torch.device("cpu"))
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="cannot write to"):
        teacher.vectors(["a"], tmp_path / "file")
    shards = tmp_path / "shards"
    teacher.vectors(["a"], shards)
    (shard,) = shards.iterdir()
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(TrainingError, match=r"\.npy is damaged; delete it"):
        teacher.vectors(["a"], shards)
    shard.unlink()
    shard.with_suffix(".new").symlink_to(FULL)
    with pytest.raises(TrainingError, match="cannot write to"):
        teacher.vectors(["a"], shards)
