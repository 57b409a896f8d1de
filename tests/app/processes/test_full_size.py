"""A checkpoint with the real one's width, vocabulary and adapters, and random weights: it loads,
serves and fits; with two of its layers in `make test`, with all of them under `operations`."""

import shutil
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.checkpoints import FULL_SIZE, Shape, random_tensors, write_original
from tests.server import running

# What a worker takes beside its weights: Python, torch, the batch's activations, kernels.
OTHERS_BYTES = 1 << 30


@pytest.mark.parametrize(
    "layers",
    [2, pytest.param(FULL_SIZE.layers, marks=[pytest.mark.operations, pytest.mark.timeout(900)])],
)
def test_a_checkpoint_of_the_real_ones_width_serves_and_takes_little_more_than_its_weights(
    tmp_path: Path, layers: int
) -> None:
    shape = replace(FULL_SIZE, layers=layers)
    numbers = write(tmp_path / "full-size", shape)
    try:
        with running(model=tmp_path / "full-size") as service:
            assert f"{layers} layers, width 1024" in service.log.text()
            assert f"{numbers / 1e6:.1f}M" in service.log.text()
            (worker,) = service.workers()
            answer = service.embed(input=" ".join(["word"] * 14), task="retrieval.query").json()
            assert len(answer["data"][0]["embedding"]) == 1024
            assert answer["usage"]["total_tokens"] == 16
            service.embed(input=["word " * 500] * 4).raise_for_status()
            info = httpx.get(f"{service.url}/info").json()
            weights = numbers * (4 if info["workers"][0]["dtype"] == "float32" else 2)
            peak = int(Path(f"/proc/{worker.pid}/status").read_text().split("VmHWM:")[1].split()[0])
            # While weights are converted, pages of the mapped file count too; they can be dropped.
            (file,) = (tmp_path / "full-size").glob("*.safetensors")
            mapped = file.stat().st_size if weights > 2 * numbers else 0
            print(f"weights {weights / 1e9:.2f} GB, peak {peak / 1e6:.2f} GB")
            assert peak * 1024 < weights + mapped + OTHERS_BYTES
    finally:
        shutil.rmtree(tmp_path / "full-size")


def write(folder: Path, shape: Shape) -> int:
    """Write a random checkpoint; how many numbers the encoder has of it, the pooler left out."""
    tensors = random_tensors(shape)
    write_original(folder, shape, tensors)
    return sum(each.numel() for name, each in tensors.items() if "pooler" not in name)
