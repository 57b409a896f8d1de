"""Batches beside each other on a CPU: the same vectors, in order, whatever else is computed."""

import threading

import numpy as np
import pytest
import torch

from model import embedder
from model.cpu_streams import CpuStreams
from model.embedder import Embedder
from model.merging import MergedCopy, MergePolicy
from tests.checkpoints import MINI
from tests.conftest import random_row, unit_rows


@pytest.fixture(scope="module")
def mini() -> Embedder:
    """With two streams, on any machine."""
    return embedder.load(MINI, "cpu", "float32", threads=2)


@pytest.mark.parametrize(
    ("threads", "streams"), [(1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (8, 4), (16, 4), (21, 4)]
)
def test_no_stream_has_more_than_its_share_of_the_threads(threads: int, streams: int) -> None:
    assert len(CpuStreams(threads)) == streams


def test_streams_compute_at_once_and_each_with_its_share() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        streams, both = CpuStreams(8), threading.Barrier(4)

        def compute(item: int) -> tuple[int, int, int]:
            both.wait(30)  # nobody gets past it before all four are here
            return item, torch.get_num_threads(), threading.get_ident()

        results = list(streams.map(compute, range(8)))
        assert [item for item, _, _ in results] == list(range(8))
        assert {threads for _, threads, _ in results} == {2}
        assert len({thread for _, _, thread in results}) == 4
        assert torch.get_num_threads() == 8
        seen: list[int] = []
        newcomer = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        newcomer.start()
        newcomer.join()
        assert seen == [8], "a thread of the caller's has the threads of a stream"
    finally:
        torch.set_num_threads(before)


def test_an_error_of_one_batch_is_the_callers_and_the_next_call_works(
    mini: Embedder, rng: np.random.Generator
) -> None:
    rows = [random_row(rng, 50, None) for _ in range(8)]
    expected = mini.embed(rows, 100)

    def fail(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        raise RuntimeError("can't allocate memory")

    hook = mini.encoder.blocks[-1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        mini.embed(rows, 100)
    hook.remove()
    np.testing.assert_array_equal(mini.embed(rows, 100), expected)


def test_batches_beside_each_other_have_the_vectors_of_rows_alone(
    mini: Embedder, rng: np.random.Generator
) -> None:
    adapters = [None, *range(len(mini.config.tasks))]
    rows = [
        random_row(rng, int(length), adapters[at % len(adapters)])
        for at, length in enumerate(rng.integers(2, 150, 60))
    ]
    alone = np.concatenate([mini.embed([row]) for row in rows])
    for tokens in (100, 700, None):
        together = mini.embed(rows, tokens)
        assert (unit_rows(together) * unit_rows(alone)).sum(axis=1).min() > 0.999999


def test_weights_that_are_merged_while_other_batches_run_reach_none_of_them(
    rng: np.random.Generator,
) -> None:
    """Each batch has another adapter than the one before it, and merges its weights."""
    quintet = embedder.load(MINI, "cpu", "float32", threads=4)
    rows = [random_row(rng, 20, at % len(quintet.config.tasks)) for at in range(100)]
    expected = np.concatenate([quintet.embed([row]) for row in rows])
    quintet._merged = MergedCopy(quintet.encoder, MergePolicy(after_tokens=1))
    merged = quintet.embed(rows, 20)
    assert len(quintet._merged.weights) == 1
    assert (unit_rows(merged) * unit_rows(expected)).sum(axis=1).min() > 0.999999
