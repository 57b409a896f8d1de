"""Packing: rows of any lengths -> one PackedBatch, end to end, with an adapter for each token.

T tokens, R rows, S spans, P pieces of spans, N pooled tokens (the lengths of all spans added up).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.config import EncoderConfig
from model.rows import MAX_ROWS, NO_ADAPTER, Row

Ints = npt.NDArray[np.int64]

# Tokens that one thread of a GPU adds up: a span of 8,192 tokens in one piece takes 2 ms.
PIECE_TOKENS = 64


@dataclass(frozen=True, slots=True)
class EqualRows:
    """Neighbouring rows of the same length, which attention can take as one rectangular tensor."""

    start: int  # first token
    rows: int
    length: int


@dataclass(frozen=True, slots=True)
class BatchShape:
    """The fixed shape of a batch for a CUDA graph: its tokens, its rows and the longest row.

    A batch that is padded to it has further rows of at most `longest` tokens, and after those rows
    without a token.
    """

    tokens: int
    rows: int
    longest: int

    def fits(self, tokens: int, rows: int, longest: int) -> bool:
        """Whether a batch can be padded to this shape."""
        missing = self.tokens - tokens
        padding_rows = -(-missing // self.longest)
        return missing >= 0 and longest <= self.longest and rows + padding_rows <= self.rows


# From a batch's tokens, rows and longest row to the shape that it is padded to, or None.
ChooseShape = Callable[[int, int, int], BatchShape | None]


@dataclass(frozen=True, slots=True)
class SpanPieces:
    """The spans of a batch, cut into pieces of at most PIECE_TOKENS tokens; all int32.

    pooled_tokens (N,) are the tokens of all spans, span by span in the order of the given rows.
    piece_starts (P,) are where each piece begins in them, first_pieces (S,) are each span's first
    piece, and lengths (S,) are in tokens.
    """

    pooled_tokens: Tensor
    piece_starts: Tensor
    first_pieces: Tensor
    lengths: Tensor


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """The tensors of one forward pass, on the device that runs it, int32.

    token_ids, positions, adapters (T,), where adapter -1 is none; row_starts (R + 1,); `inputs`
    (3 * T + R + 1,) is these four end to end. longest is the longest row in tokens; equal_rows
    cover all rows in packed order; `shape` is what the batch is padded to, or None. has_adapters
    tells whether any token has an adapter; only_adapter is the adapter that all rows have, or -1.
    """

    token_ids: Tensor
    positions: Tensor
    adapters: Tensor
    row_starts: Tensor
    inputs: Tensor
    longest: int
    equal_rows: tuple[EqualRows, ...]
    shape: BatchShape | None
    spans: SpanPieces
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
    """Rows for oneDNN: one more row, without spans, brings their tokens to a round number.

    oneDNN takes 3 to 10 ms to prepare its kernels for each new number of tokens, and caches few of
    them (tests/bench/README.md). Padding leaves about a hundred numbers up to 2,048 tokens.
    """
    tokens = sum(map(len, rows))
    missing = round_up(tokens, _step(tokens)) - tokens
    if not missing or len(rows) == MAX_ROWS:
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


def pack(
    rows: Sequence[Row], device: torch.device, choose_shape: ChooseShape | None = None
) -> PackedBatch:
    """Lay rows end to end, the longest first, and move them to `device` in one copy.

    Sorting makes rows of equal length neighbours, so that attention without a variable-length
    kernel needs one call for each length and copies nothing. The batch is padded to the shape that
    `choose_shape` gives.
    """
    assert rows, "an empty batch has nothing to compute"
    assert len(rows) <= MAX_ROWS, f"{len(rows)} rows are more than the {MAX_ROWS} of a GPU's grid"
    given_lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    order = np.argsort(-given_lengths, kind="stable")
    lengths = given_lengths[order]
    adapters = np.array([NO_ADAPTER if row.adapter is None else row.adapter for row in rows])[order]
    used, longest = int(lengths.sum()), int(lengths[0])
    start_of = np.empty(len(rows), np.int64)
    start_of[order] = _starts(lengths)
    shape = None if choose_shape is None else choose_shape(used, len(rows), longest)
    ids = [rows[index].token_ids for index in order.tolist()]
    if shape is not None:
        padding = _padding_rows(shape, used, len(rows))
        lengths = np.concatenate([lengths, padding])
        ids.append(np.zeros(shape.tokens - used, np.int32))
        longest = shape.longest
    present = set(adapters.tolist())
    adapters = np.append(adapters, np.full(len(lengths) - len(rows), NO_ADAPTER))
    inputs, token_ids, positions, token_adapters, row_starts, *pooling = _on_device(
        [
            np.concatenate(ids),
            _ranges(lengths),
            np.repeat(adapters, lengths),
            np.append(_starts(lengths), lengths.sum()),
            *_pooling(rows, start_of),
        ],
        device,
    )
    return PackedBatch(
        token_ids=token_ids,
        positions=positions,
        adapters=token_adapters,
        row_starts=row_starts,
        inputs=inputs,
        longest=longest,
        equal_rows=_equal_rows(lengths),
        shape=shape,
        spans=SpanPieces(*pooling),
        has_adapters=present != {NO_ADAPTER},
        only_adapter=present.pop() if len(present) == 1 else NO_ADAPTER,
    )


def _padding_rows(shape: BatchShape, tokens: int, rows: int) -> Ints:
    """The lengths of the rows that pad a batch to `shape`; the last ones have no token."""
    missing = shape.tokens - tokens
    lengths = np.zeros(shape.rows - rows, np.int64)
    full, rest = divmod(missing, shape.longest)
    lengths[:full] = shape.longest
    if rest:
        lengths[full] = rest
    return lengths


def _on_device(arrays: Sequence[npt.NDArray[np.generic]], device: torch.device) -> list[Tensor]:
    """Arrays as int32 tensors on `device`, by one copy; before them the first four end to end."""
    sizes = [len(array) for array in arrays]
    staged = torch.from_numpy(np.concatenate(arrays, dtype=np.int32, casting="same_kind"))
    if device.type == "cuda":  # only from pinned memory is it copied beside the computation
        staged = staged.pin_memory()
    moved = staged.to(device, non_blocking=True)
    return [moved[: sum(sizes[:4])], *moved.split(sizes)]


def _starts(lengths: Ints) -> Ints:
    """Where each of them starts, laid end to end."""
    starts: Ints = np.cumsum(lengths) - lengths
    return starts


def _ranges(lengths: Ints) -> Ints:
    """0, 1, .. length-1 for each length, end to end."""
    ranges: Ints = np.arange(lengths.sum()) - np.repeat(_starts(lengths), lengths)
    return ranges


def _equal_rows(lengths: Ints) -> tuple[EqualRows, ...]:
    firsts = np.flatnonzero(np.diff(lengths, prepend=-1))  # the first row of each run
    rows = np.diff(firsts, append=len(lengths))
    runs = zip(
        _starts(lengths)[firsts].tolist(), rows.tolist(), lengths[firsts].tolist(), strict=True
    )
    return tuple(EqualRows(*run) for run in runs if run[2])


def _pooling(rows: Sequence[Row], start_of: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """The tensors of SpanPieces; `start_of` (R,) has each given row's first token."""
    spans = np.concatenate([row.spans for row in rows]).astype(np.int64)
    spans += np.repeat(start_of, [len(row.spans) for row in rows])[:, None]
    lengths = spans[:, 1] - spans[:, 0]
    assert (lengths > 0).all(), "a span without a token has no mean"
    pieces = -(-lengths // PIECE_TOKENS)  # of each span
    piece_starts = np.repeat(_starts(lengths), pieces) + _ranges(pieces) * PIECE_TOKENS
    return (
        np.repeat(spans[:, 0], lengths) + _ranges(lengths),
        piece_starts,
        _starts(pieces),
        lengths,
    )
