"""A GPU as a worker uses it: batches of two threads, and memory that runs out."""

import queue
import threading

import numpy as np
import pytest
import torch

from model import embedder
from model.embedder import Embedder
from model.packing import PackedBatch
from tests.checkpoints import MINI
from tests.conftest import random_row

BATCHES = 2000


@pytest.fixture(scope="module")
def quintet() -> Embedder:
    loaded = embedder.load(MINI, "cuda:0", "bfloat16")
    loaded.warm_up()
    return loaded


@pytest.mark.gpu
def test_no_vector_is_wrong_while_one_thread_packs_and_another_computes(
    quintet: Embedder, rng: np.random.Generator
) -> None:
    """And while the next batch is launched before one is read, as in a worker."""
    jobs = []
    for _ in range(60):
        few, long = int(rng.integers(1, 60)), int(rng.choice([20, 200, 600]))
        one = int(rng.integers(5)) if rng.random() < 0.5 else None
        rows = [
            random_row(rng, int(length), int(rng.integers(5)) if one is None else one, 2)
            for length in rng.integers(2, long, few)
        ]
        jobs.append((rows, quintet.launch(quintet.pack(rows)).read().copy()))
    ready: queue.Queue[tuple[int, PackedBatch]] = queue.Queue(3)
    order = rng.integers(len(jobs), size=BATCHES).tolist()

    def pack() -> None:
        for at in order:
            ready.put((at, quintet.pack(jobs[at][0])))

    packing = threading.Thread(target=pack)
    packing.start()
    at, batch = ready.get()
    running = quintet.launch(batch)
    for number in range(1, BATCHES + 1):
        following, before = None, at
        if number < BATCHES:
            at, batch = ready.get()
            following = quintet.launch(batch)
        vectors, expected = running.read(), jobs[before][1]
        assert running.all_finite
        cosines = (vectors * expected).sum(1)
        cosines /= np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
        assert cosines.min() > 0.9995, (number, before, cosines.min())
        if following is not None:
            running = following
    packing.join()


@pytest.mark.gpu
def test_a_batch_that_does_not_fit_leaves_the_gpu_as_it_was(
    quintet: Embedder, rng: np.random.Generator
) -> None:
    rows = [random_row(rng, int(length), 2) for length in rng.integers(2, 300, 9)]
    large = [random_row(rng, 1024, at % 5) for at in range(100)]
    expected = quintet.embed(rows)
    quintet.free_memory()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (64 << 20)) / total)
    try:
        with pytest.raises(torch.OutOfMemoryError) as raised:
            quintet.embed(large, 1 << 20)
        assert quintet.usable_after(raised.value)
        quintet.free_memory()
        np.testing.assert_allclose(quintet.embed(rows), expected, atol=1e-3)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert np.isfinite(quintet.embed(large, 1 << 20)).all()
