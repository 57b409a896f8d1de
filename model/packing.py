"""Packing: rows of any lengths -> one PackedBatch, end to end, with an adapter for each token.

T tokens, R rows, S spans, N pooled tokens (the lengths of all spans added up).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.config import EncoderConfig
from model.rows import MAX_ROWS, NO_ADAPTER, Row


@dataclass(frozen=True, slots=True)
class EqualRows:
    """Neighbouring rows of the same length, which attention can take as one rectangular tensor."""

    start: int  # first token
    rows: int
    length: int


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """The tensors of one forward pass, on the device that runs it.

    token_ids, positions, adapters (T,) int64, where adapter -1 is none; row_starts (R + 1,) int32;
    longest is the longest row in tokens; equal_rows cover all rows in packed order. pooled_tokens
    (N,) int64 are the tokens of all spans, span by span in the order of the given rows, and
    span_starts (S,) int64 are where each span begins in them. has_adapters tells whether any token
    has an adapter; only_adapter is the adapter that all tokens have, or -1.
    """

    token_ids: Tensor
    positions: Tensor
    adapters: Tensor
    row_starts: Tensor
    longest: int
    equal_rows: tuple[EqualRows, ...]
    pooled_tokens: Tensor
    span_starts: Tensor
    has_adapters: bool
    only_adapter: int


def round_up(count: int, group: int) -> int:
    """The smallest multiple of `group` that is at least `count`."""
    return -(-count // group) * group


def batches(rows: Sequence[Row], max_batch_tokens: int) -> Iterator[Sequence[Row]]:
    """Groups of consecutive rows, `max_batch_tokens` together at most; a longer row is alone."""
    start, tokens = 0, 0
    for index, row in enumerate(rows):
        full = tokens + len(row) > max_batch_tokens or index - start == MAX_ROWS
        if full and index > start:
            yield rows[start:index]
            start, tokens = index, 0
        tokens += len(row)
    if start < len(rows):
        yield rows[start:]


def with_padding_row(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows for a CPU: one more row, without spans, brings their tokens to a round number.

    oneDNN takes 3 to 10 ms to prepare its kernels for each new number of tokens, and caches few of
    them (tests/bench/README.md). Padding leaves about a hundred numbers up to 2,048 tokens.
    """
    tokens = sum(map(len, rows))
    missing = round_up(tokens, _step(tokens)) - tokens
    if not missing:
        return rows
    ids, spans = np.zeros(missing, np.int32), np.empty((0, 2), np.int32)
    return [*rows, Row(ids, rows[-1].adapter, spans)]


def _step(tokens: int) -> int:
    """4 tokens, and from 128 tokens on about a sixteenth, up to 32."""
    return next((step for step in (4, 8, 16) if tokens <= 32 * step), 32)


def example(config: EncoderConfig, tokens: int, row_tokens: int = 16) -> list[Row]:
    """Random rows of `tokens` tokens together, with no adapter and each adapter in turn."""
    ids = np.random.default_rng(0).integers(config.vocab_size, size=tokens, dtype=np.int32)
    adapters = (None, *range(len(config.tasks)))
    return [
        Row.single_span(ids[start : start + row_tokens], adapters[at % len(adapters)])
        for at, start in enumerate(range(0, tokens, row_tokens))
    ]


def pack(rows: Sequence[Row], device: torch.device) -> PackedBatch:
    """Lay rows end to end, the longest first, and move them to `device`.

    Sorting makes rows of equal length neighbours, so that attention without a variable-length
    kernel needs one call for each length and copies nothing.
    """
    assert rows, "an empty batch has nothing to compute"
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]), reverse=True)
    lengths = np.array([len(rows[index]) for index in order], dtype=np.int64)
    row_starts = np.concatenate([[0], np.cumsum(lengths)])
    chosen = [rows[index].adapter for index in order]
    adapters = [NO_ADAPTER if adapter is None else adapter for adapter in chosen]
    start_of = np.empty(len(rows), dtype=np.int64)
    start_of[order] = row_starts[:-1]
    pooled_tokens, span_starts = _pooling(rows, start_of)

    def on_device(array: npt.NDArray[np.generic], dtype: torch.dtype = torch.int64) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(dtype)
        if device.type == "cuda":
            return tensor.pin_memory().to(device, non_blocking=True)
        return tensor.to(device)

    return PackedBatch(
        token_ids=on_device(np.concatenate([rows[index].token_ids for index in order])),
        positions=on_device(_ranges(lengths)),
        adapters=on_device(np.repeat(adapters, lengths)),
        row_starts=on_device(row_starts, torch.int32),
        longest=int(lengths[0]),
        equal_rows=_equal_rows(lengths.tolist()),
        pooled_tokens=on_device(pooled_tokens),
        span_starts=on_device(span_starts),
        has_adapters=set(adapters) != {NO_ADAPTER},
        only_adapter=adapters[0] if len(set(adapters)) == 1 else NO_ADAPTER,
    )


def _ranges(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """0, 1, .. length-1 for each length, end to end."""
    starts = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) - np.repeat(starts, lengths)


def _equal_rows(lengths: list[int]) -> tuple[EqualRows, ...]:
    runs, start = [], 0
    for length, group in groupby(lengths):
        rows = len(list(group))
        runs.append(EqualRows(start, rows, length))
        start += rows * length
    return tuple(runs)


def _pooling(
    rows: Sequence[Row], start_of: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The tokens of every span, end to end (N,), and where each span starts among them (S,)."""
    spans = np.concatenate([row.spans + start_of[index] for index, row in enumerate(rows)])
    lengths = spans[:, 1] - spans[:, 0]
    assert (lengths > 0).all(), "a span without a token has no mean"
    return np.repeat(spans[:, 0], lengths) + _ranges(lengths), np.cumsum(lengths) - lengths
