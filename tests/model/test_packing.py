"""Packing against slow and obvious loops."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.packing import batches, pack, with_padding_row
from model.pooling import mean_over_spans
from model.rows import MAX_ROWS, Row
from tests.conftest import random_row

CPU = torch.device("cpu")
seeds = st.integers(0, 2**32 - 1)


def random_rows(seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    return [
        random_row(rng, int(rng.integers(1, 12)), [None, 0, 4][rng.integers(3)], int(spans))
        for spans in rng.integers(1, 5, rng.integers(1, 9))
    ]


def packed_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=len, reverse=True)


@given(seeds)
def test_a_batch_has_every_token_of_every_row_and_no_other(seed: int) -> None:
    rows = random_rows(seed)
    batch = pack(rows, CPU)
    order = packed_order(rows)
    assert batch.token_ids.tolist() == [i for row in order for i in row.token_ids]
    assert batch.positions.tolist() == [at for row in order for at in range(len(row))]
    adapters = [
        -1 if row.adapter is None else row.adapter for row in order for _ in range(len(row))
    ]
    assert batch.adapters.tolist() == adapters
    assert batch.row_starts.tolist() == np.cumsum([0, *map(len, order)]).tolist()
    assert batch.longest == len(order[0])
    assert batch.has_adapters == any(row.adapter is not None for row in rows)
    covered = [(run.start, run.rows * run.length) for run in batch.equal_rows]
    assert sum(tokens for _, tokens in covered) == len(batch.token_ids)


@given(seeds)
def test_filling_up_adds_no_vector_and_no_adapter(seed: int) -> None:
    rows = random_rows(seed) * int(1 + seed % 40)
    tokens = sum(map(len, rows))
    batch, full = pack(rows, CPU), pack(with_padding_row(rows), CPU)
    hidden = torch.randn(len(full.token_ids), 3, generator=torch.Generator().manual_seed(seed))
    assert len(full.token_ids) - tokens <= max(3, tokens / 16)
    assert len(full.spans.lengths) == len(batch.spans.lengths)
    assert full.only_adapter == batch.only_adapter
    assert full.has_adapters == batch.has_adapters
    pooled, expected = (each.token_ids[each.spans.pooled_tokens].tolist() for each in (full, batch))
    assert pooled == expected
    assert mean_over_spans(hidden, full.spans).shape == (len(batch.spans.lengths), 3)


def test_batches_of_all_sizes_have_few_numbers_of_tokens() -> None:
    def filled(tokens: int) -> int:
        row = Row.single_span(np.zeros(tokens, np.int32), None)
        return sum(map(len, with_padding_row([row])))

    sizes = {filled(tokens) for tokens in range(1, 2049)}
    assert len(sizes) == 32 + 16 + 16 + 48
    assert {2, 16, 128, 2048} - sizes == {2}


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 20))
def test_batches_have_all_rows_in_order_and_are_as_large_as_may_be(
    lengths: list[int], limit: int
) -> None:
    rows = [Row.single_span(np.zeros(length, np.int32), None) for length in lengths]
    made = [list(batch) for batch in batches(rows, limit)]
    assert [row for batch in made for row in batch] == rows
    for batch, following in itertools.zip_longest(made, made[1:]):
        tokens = sum(map(len, batch))
        assert tokens <= limit or len(batch) == 1
        assert following is None or tokens + len(following[0]) > limit


def test_a_batch_of_as_many_rows_as_may_be_has_none_to_fill_it_up() -> None:
    rows = [Row.single_span(np.zeros(2, np.int32), None)] * MAX_ROWS
    assert len(with_padding_row(rows)) == MAX_ROWS
    assert len(with_padding_row(rows[1:])) == MAX_ROWS


def test_a_batch_has_no_more_rows_than_a_gpus_grid() -> None:
    rows = [Row.single_span(np.zeros(1, np.int32), None)] * (MAX_ROWS + 1)
    assert list(map(len, batches(rows, 1 << 20))) == [MAX_ROWS, 1]
    with pytest.raises(AssertionError, match="65536 rows are more than the 65535"):
        pack(rows, CPU)
