"""Batches filled up to a fixed shape, and the graphs that replay them."""

import numpy as np
import pytest
import torch

from model import embedder
from model.embedder import Embedder
from model.graphs import SIZES, filled
from model.packing import pack
from tests.checkpoints import MINI
from tests.conftest import random_row


@pytest.fixture(scope="module")
def precise() -> Embedder:
    return embedder.load(MINI, dtype="float32")


@pytest.mark.parametrize("lengths", [[2], [32], [2] * 16, [9, 2, 13], [7, 7, 7, 3]])
def test_filling_up_changes_no_vector(
    precise: Embedder, rng: np.random.Generator, lengths: list[int]
) -> None:
    rows = [random_row(rng, length, at % 5 if at else None) for at, length in enumerate(lengths)]
    batch = pack(rows, precise.device)
    expected = precise.forward(batch)
    for size in (32, 64):
        full = filled(batch, size)
        assert len(full.token_ids) == len(full.positions) == len(full.adapters) == size
        assert len(full.row_starts) == size // 2 + 2
        assert full.row_starts[-1] == size
        torch.testing.assert_close(precise.forward(full), expected, atol=1e-5, rtol=0)


def test_what_fits_no_size_is_refused(precise: Embedder, rng: np.random.Generator) -> None:
    with pytest.raises(AssertionError, match="33 tokens does not fit into 32"):
        filled(pack([random_row(rng, 33, None)], precise.device), 32)


@pytest.mark.gpu
def test_graphs_give_what_the_encoder_gives(rng: np.random.Generator) -> None:
    quintet = embedder.load(MINI, "cuda:0", "bfloat16")
    batches = [
        [random_row(rng, int(length), int(rng.integers(5))) for length in lengths]
        for size in SIZES
        for lengths in ([size], [2] * (size // 2), rng.integers(2, size // 4, 3))
    ]
    eager = [quintet.embed(rows) for rows in batches]
    quintet.warm_up()
    assert quintet.device_name.endswith("with CUDA graphs")
    for rows, expected in zip(batches, eager, strict=True):
        cosines = torch.cosine_similarity(
            torch.from_numpy(quintet.embed(rows)), torch.from_numpy(expected)
        )
        assert cosines.min() > 0.9999
