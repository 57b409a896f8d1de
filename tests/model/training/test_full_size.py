"""A checkpoint of the real one's size, random weights: training an adapter fits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.checkpoints import FULL_SIZE, write_original
from tests.model.training.records import labelled, log_of, write

LIMIT_BYTES = 6 << 30


@pytest.mark.operations
@pytest.mark.timeout(900)
def test_a_step_on_a_full_size_checkpoint_fits(tmp_path: Path) -> None:
    folder = write_original(tmp_path / "full-size", FULL_SIZE)
    data, out = write(tmp_path / "data.jsonl", labelled()), tmp_path / "out"
    command = [sys.executable, "-m", "app", "train", "adapter", "--checkpointing"]
    command += ["--base", folder, "--task", "separation", "--data", data, "--out", out]
    process = subprocess.Popen([*command, "--max-steps", "1", "--batch-size", "8"])
    try:
        _, status, used = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    print(f"peak {used.ru_maxrss / 1e6:.2f} GB, {used.ru_utime:.0f} s of one core")
    assert used.ru_maxrss * 1024 < LIMIT_BYTES
    assert [line["step"] for line in log_of(out) if "validation" in line] == [0, 1]
    with (
        safe_open(out / "model.safetensors", "pt") as ours,
        safe_open(folder / "model.safetensors", "pt") as theirs,
    ):
        name = "encoder.layers.23.mixer.Wqkv"
        weight = theirs.get_tensor(f"roberta.{name}.parametrizations.weight.original")
        assert ours.get_tensor(f"{name}.weight").equal(weight)
