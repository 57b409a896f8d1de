"""The cache of vectors: whose they are, how many bytes they take, which ones give way."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.row_cache import ENTRY_BYTES, RowCache, key_of
from model.rows import Row

WIDTH = 8
ENTRY = ENTRY_BYTES + 4 * WIDTH  # of a row with one span

IDS = st.lists(st.integers(0, 3), min_size=1, max_size=4)
SPANS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=3)
ROWS = st.builds(
    lambda ids, adapter, spans: Row(np.array(ids, np.int32), adapter, np.array(spans, np.int32)),
    *(IDS, st.sampled_from([None, 0, 1]), SPANS),
)


def parts(row: Row) -> tuple[object, ...]:
    return row.token_ids.tolist(), row.adapter, row.spans.tolist()


def key(number: int) -> bytes:
    return key_of(Row.single_span(np.array([number], np.int32), 0))


def vectors(rng: np.random.Generator, spans: int = 1) -> np.ndarray:
    return rng.standard_normal((spans, WIDTH), dtype=np.float32)


@given(ROWS, ROWS)
def test_rows_have_one_key_if_ids_adapter_and_spans_are_equal_and_only_then(
    one: Row, other: Row
) -> None:
    assert (key_of(one) == key_of(other)) == (parts(one) == parts(other))


def test_numbers_that_move_from_the_ids_to_the_spans_change_the_key() -> None:
    ids, spans = np.array([5, 0, 1], np.int32), np.array([[0, 1]], np.int32)
    other = np.array([[0, 1], [0, 1]], np.int32)
    assert key_of(Row(ids, 0, spans)) != key_of(Row(ids[:1], 0, other))


def test_it_gives_back_the_bytes_that_it_was_given(rng: np.random.Generator) -> None:
    cache, given_ones = RowCache(1 << 20, WIDTH), {n: vectors(rng, n) for n in (1, 2, 7)}
    for number, each in given_ones.items():
        expected = each.copy()
        cache.put(key(number), each)
        each[:] = 0  # it is the caller's own
        given_ones[number] = expected
    for number, expected in given_ones.items():
        found = cache.get(key(number))
        assert found is not None
        np.testing.assert_array_equal(found, expected)
        with pytest.raises(ValueError, match="read-only"):
            found[0] = 0
    assert cache.get(key(3)) is None


def test_the_one_that_was_asked_for_longest_ago_gives_way(rng: np.random.Generator) -> None:
    cache = RowCache(3 * ENTRY, WIDTH)
    for number in (1, 2, 3):
        cache.put(key(number), vectors(rng))
    cache.get(key(1))
    cache.put(key(4), vectors(rng))
    assert [number for number in range(5) if cache.get(key(number)) is not None] == [1, 3, 4]


def test_a_row_counts_with_all_its_spans_and_one_that_is_too_large_moves_nobody(
    rng: np.random.Generator,
) -> None:
    cache = RowCache(10 * ENTRY, WIDTH)
    cache.put(key(1), vectors(rng))
    cache.put(key(2), vectors(rng, 5))
    assert cache.bytes == 2 * ENTRY_BYTES + 6 * 4 * WIDTH
    cache.put(key(3), vectors(rng, 10 * ENTRY // (4 * WIDTH)))
    assert [cache.get(key(number)) is None for number in (1, 2, 3)] == [False, False, True]


def test_what_it_takes_of_memory_is_less_than_it_counts(rng: np.random.Generator) -> None:
    """Also while it grows, and when it has been full for a while."""
    limit = 4 << 20
    cache = RowCache(limit, WIDTH)
    rows = vectors(rng, 1)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(3 * limit // ENTRY):
            cache.put(key(number), rows)
            if number % 997 == 0:
                assert tracemalloc.get_traced_memory()[0] - before <= cache.bytes + 4096
            assert cache.bytes <= limit
        cache.clear()
        assert tracemalloc.get_traced_memory()[0] - before <= 4096
    finally:
        tracemalloc.stop()
