"""Checkpoints that tests share, made once a run; and the GPU marker."""

import os
from pathlib import Path

# Before torch is imported. pytest-xdist runs test files side by side, a process for each core:
# threads of several processes that wait for each other's cores take many times as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
# Threads that wait sleep, here and in the services: what they wait for needs the core.
os.environ["OMP_WAIT_POLICY"] = "passive"

import hypothesis
import numpy as np
import pytest
import torch

from model.rows import Row
from tests.checkpoints import Shape, random_tensors, write_hf, write_original

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("quintet", deadline=None)
hypothesis.settings.load_profile("quintet")

APART = Path(__file__).parent / "model"
BFLOAT16_PREPACKED = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="oneDNN lays out bfloat16 weights on CPUs with AVX512BW only",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if {APART / "training", APART / "evaluate"} & {*item.path.parents}:
            item.add_marker(pytest.mark.training)
    if torch.cuda.is_available():
        return
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    items[:] = [item for item in items if item not in gpu]
    config.hook.pytest_deselected(items=gpu)


@pytest.fixture(scope="session")
def shape() -> Shape:
    return Shape()


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, shape: Shape) -> Path:
    """A small random checkpoint in the original layout."""
    return write_original(tmp_path_factory.mktemp("models") / "original", shape)


@pytest.fixture(scope="session")
def hf(tmp_path_factory: pytest.TempPathFactory, shape: Shape) -> Path:
    """The same checkpoint in the -hf layout."""
    return write_hf(tmp_path_factory.mktemp("models") / "hf", shape, random_tensors(shape))


@pytest.fixture
def rng() -> np.random.Generator:
    """Fresh random numbers; the seed is printed when a test fails."""
    seed = np.random.SeedSequence().entropy
    print(f"random seed: {seed}")
    return np.random.default_rng(seed)


def random_row(rng: np.random.Generator, length: int, adapter: int | None, spans: int = 1) -> Row:
    """A row of random ids with `spans` random, possibly overlapping spans."""
    ids = rng.integers(3, 32000, length).astype(np.int32)
    ids[0], ids[-1] = 0, 2
    if spans == 1:
        return Row.single_span(ids, adapter)
    starts = rng.integers(0, length, spans)
    stops = np.array([rng.integers(start + 1, length + 1) for start in starts])
    return Row(ids, adapter, np.stack([starts, stops], axis=1).astype(np.int32))


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Vectors (S, D) scaled to length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
