"""Packing and pooling against slow and obvious loops; attention kernels against each other."""

import itertools
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from model.attention import Attend, Attention, attend_on_cpu, attend_sdpa, choose_attention
from model.encoder import AttentionInputs
from model.packing import PackedBatch, batches, pack, with_padding_row
from model.pooling import mean_over_spans
from model.rows import MAX_ROWS, Row
from tests.conftest import random_row
from tests.naive import naive_attention as naive

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
def test_a_vector_is_the_mean_of_its_span(seed: int) -> None:
    rows = random_rows(seed)
    batch = pack(rows, CPU)
    hidden = torch.randn(len(batch.token_ids), 6, generator=torch.Generator().manual_seed(seed))
    start_of = {}
    for row, start in zip(packed_order(rows), batch.row_starts.tolist(), strict=False):
        start_of[id(row)] = start
    expected = [
        hidden[start_of[id(row)] + start : start_of[id(row)] + stop].mean(dim=0)
        for row in rows
        for start, stop in row.spans.tolist()
    ]
    torch.testing.assert_close(mean_over_spans(hidden, batch), torch.stack(expected))


@given(seeds)
def test_filling_up_adds_no_vector_and_no_adapter(seed: int) -> None:
    rows = random_rows(seed) * int(1 + seed % 40)
    tokens = sum(map(len, rows))
    batch, full = pack(rows, CPU), pack(with_padding_row(rows), CPU)
    hidden = torch.randn(len(full.token_ids), 3, generator=torch.Generator().manual_seed(seed))
    assert len(full.token_ids) - tokens <= max(3, tokens / 16)
    assert len(full.span_starts) == len(batch.span_starts)
    assert full.only_adapter == batch.only_adapter
    assert full.has_adapters == batch.has_adapters
    pooled, expected = (each.token_ids[each.pooled_tokens].tolist() for each in (full, batch))
    assert pooled == expected
    assert mean_over_spans(hidden, full).shape == (len(batch.span_starts), 3)


def test_batches_of_all_sizes_have_few_numbers_of_tokens() -> None:
    def filled(tokens: int) -> int:
        row = Row.single_span(np.zeros(tokens, np.int32), None)
        return sum(map(len, with_padding_row([row])))

    sizes = {filled(tokens) for tokens in range(1, 2049)}
    assert len(sizes) == 32 + 16 + 16 + 48
    assert {2, 16, 128, 2048} - sizes == {2}


def as_the_encoder_has_them(
    batch: PackedBatch, heads: int, size: int, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random q, k and v (T, H, K), taken from an encoder's own turn: slices of larger tensors."""
    device = batch.token_ids.device
    seen: list[torch.Tensor] = []

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, _: PackedBatch) -> torch.Tensor:
        seen.extend((q, k, v))
        return v

    angles = torch.rand(len(batch.token_ids), 1, 1, size // 2, device=device)
    turns = torch.polar(torch.ones_like(angles), angles)
    qkv = torch.randn(len(batch.token_ids), 3 * heads * size, device=device, dtype=dtype)
    AttentionInputs(batch, heads, turns, Attention("none", attend)).attend(qkv)
    q, k, v = seen
    return q, k, v


@pytest.mark.parametrize("attend", [attend_sdpa, attend_on_cpu])
@given(seeds)
def test_attention_is_softmax_within_each_row(attend: Attend, seed: int) -> None:
    batch = pack(random_rows(seed), CPU)
    torch.manual_seed(seed)
    q, k, v = as_the_encoder_has_them(batch, 2, 8)
    assert len(q) == 1 or not any(each.is_contiguous() for each in (q, k, v))
    torch.testing.assert_close(attend(q, k, v, batch), naive(q, k, v, batch))


def test_a_cpu_takes_products_a_block_of_scores_at_a_time(rng: np.random.Generator) -> None:
    assert choose_attention(CPU, torch.bfloat16).attend is attend_on_cpu
    lengths = (1, 63, 64, 65, 96, 300, 300, 700, 1500)  # some heads at a time, then some queries
    batch = pack([random_row(rng, length, None) for length in lengths], CPU)
    q, k, v = as_the_encoder_has_them(batch, 5, 8)
    torch.testing.assert_close(attend_on_cpu(q, k, v, batch), naive(q, k, v, batch))


BROKEN = {
    "flash-attn-4 alone": "",
    "made for another torch": "raise ImportError('undefined symbol: _ZN3c105ErrorC2E')",
    "without a library": "raise OSError('libcudart.so.12: cannot open shared object file')",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_flash_attn_that_cannot_be_imported_is_said_and_torchs_kernel_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    """flash-attn-4 alone gives a package `flash_attn` without that function."""
    (tmp_path / "flash_attn" / "cute").mkdir(parents=True)
    (tmp_path / "flash_attn" / "cute" / "__init__.py").touch()
    if broken:
        (tmp_path / "flash_attn" / "__init__.py").write_text(broken)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "flash_attn", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    chosen = choose_attention(torch.device("cuda", 0), torch.bfloat16)
    sys.modules.pop("flash_attn", None)
    assert (chosen.name, chosen.recordable) == ("torch varlen_attn", True)
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert "flash_attn is installed and cannot be used: " in line.getMessage()


def test_a_batch_has_no_more_rows_than_a_gpus_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    attend = choose_attention(torch.device("cuda", 0), torch.bfloat16).attend
    rows = [Row.single_span(np.zeros(1, np.int32), None)] * (MAX_ROWS + 1)
    assert list(map(len, batches(rows, 1 << 20))) == [MAX_ROWS, 1]
    q = torch.zeros(len(rows), 1, 8)
    with pytest.raises(AssertionError, match="65536 rows are more than the 65535"):
        attend(q, q, q, pack(rows, CPU))


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


@pytest.mark.gpu
def test_the_kernel_chosen_on_a_gpu_agrees_with_the_obvious_one(rng: np.random.Generator) -> None:
    device = torch.device("cuda:0")
    rows = [random_row(rng, int(length), None) for length in (1, 2, 17, 64, 64, 300, 2000)]
    batch = pack(rows, device)
    q, k, v = as_the_encoder_has_them(batch, 16, 64, torch.bfloat16)
    chosen = choose_attention(device, torch.bfloat16)
    assert chosen.name != "sdpa"
    found, expected = chosen.attend(q, k, v, batch).float(), naive(q, k, v, batch)
    assert F.cosine_similarity(found.flatten(1), expected.flatten(1)).min() > 0.999


@pytest.mark.gpu
def test_a_gpu_in_bfloat16_agrees_with_a_cpu_in_float32(rng: np.random.Generator) -> None:
    from model import embedder
    from tests.checkpoints import MINI

    lengths = [2, 9, 64, 500, 8192]
    rows = [random_row(rng, length, adapter) for adapter, length in enumerate(lengths)]
    found = torch.from_numpy(embedder.load(MINI, "cuda:0", "bfloat16").embed(rows, 1 << 20))
    expected = torch.from_numpy(embedder.load(MINI, "cpu", "float32").embed(rows))
    assert F.cosine_similarity(found, expected).min() > 0.999
