"""A worker and its GPU, in real processes on a machine whose GPUs are emulated."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from app.engine import messages
from app.engine.control import FromChild, StartFailed, StartWorker, WorkerStarted
from app.engine.loading import load, one_visible_gpu
from app.settings import Settings
from model import embedder
from model.rows import MAX_ROWS, Row
from tests.conftest import random_row
from tests.workers import WorkerProcess


@pytest.mark.parametrize(
    ("device", "visible", "alone"),
    [
        ("cuda:0", None, "0"),
        ("cuda:1", None, "1"),
        ("cuda:1", "4,5", "5"),
        ("cuda:1", " 4 , 5 ,6", "5"),
        ("cuda:0", "GPU-8932f937-d72c,GPU-1c2f", "GPU-8932f937-d72c"),
        ("cuda:1", "MIG-aa,MIG-bb", "MIG-bb"),
        ("cuda:0", "1,-1,2", "1"),
        # Not a GPU by its number, or not among those that are visible.
        ("cpu", None, None),
        ("auto", "1", None),
        ("cuda", "1", None),
        ("cuda:2", "4,5", None),
        ("cuda:2", "1,-1,2", None),
        ("cuda:0", "", None),
        ("cuda:0", "-1", None),
        ("cuda:0", "NoDevFiles", None),
        ("cuda:0", "1,1", None),
    ],
)
def test_a_worker_sees_its_own_gpu_alone(
    device: str, visible: str | None, alone: str | None
) -> None:
    assert one_visible_gpu(device, visible) == alone


def started(
    folder: Path, device: str, visible: str | None, rows: Sequence[Row] = ()
) -> tuple[FromChild | None, np.ndarray | None]:
    """What a worker reports first, and the vectors of some rows."""
    environment = {name: value for name, value in os.environ.items() if "VISIBLE" not in name}
    environment |= {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    start = StartWorker(str(folder), device, "float32", 64)
    worker = WorkerProcess(start, ("tests.emulated_cuda", "3"), environment)
    vectors = None
    try:
        if rows:
            link = worker.link()
            link.embed(1, rows)
            result = link.receive_until(messages.JobResult)[-1]
            assert isinstance(result, messages.JobResult)
            vectors = messages.vectors_of(result, 64)
        worker.finish()
    finally:
        worker.close()
    return worker.started, vectors


def test_a_worker_on_cuda_1_computes_on_that_gpu_and_is_called_so(
    original: Path, rng: np.random.Generator
) -> None:
    rows = [random_row(rng, 9, 1), random_row(rng, 30, None)]
    report, vectors = started(original, "cuda:1", "2,1,0", rows)
    assert isinstance(report, WorkerStarted)
    assert report.device == "cuda:1, emulated GPU 1 of 1 seen"
    assert vectors is not None
    expected = embedder.load(original, "cpu", "float32").embed(rows)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_a_gpu_that_is_not_there_is_said_of_all_that_are(original: Path) -> None:
    report, _ = started(original, "cuda:3", None)
    assert isinstance(report, StartFailed)
    assert report.reason == "cuda:3 is not here. Choose cuda:0, cuda:1, cuda:2, cpu or auto."


def test_what_the_settings_and_the_model_both_say_agrees() -> None:
    fields = Settings.model_fields
    (most,) = (each.le for each in fields["max_batch_tokens"].metadata if hasattr(each, "le"))
    assert most == 2 * MAX_ROWS  # the shortest row of the service has two tokens, the special ones


@pytest.mark.parametrize(("adapters", "merges"), [("auto", True), ("stacked", False)])
def test_a_worker_on_a_cpu_merges_weights_unless_adapters_are_to_stay_stacked(
    original: Path, rng: np.random.Generator, adapters: Literal["auto", "stacked"], merges: bool
) -> None:
    start = StartWorker(str(original), "cpu", "float32", 4096, threads=1, adapters=adapters)
    loaded, _ = load(start)
    loaded.embed([random_row(rng, 4096, 1) for _ in range(6)], 4096)
    assert (loaded._merged is not None and list(loaded._merged.weights) == [1]) == merges
