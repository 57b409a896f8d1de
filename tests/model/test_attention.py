"""Attention kernels against a slow and obvious one, and which of them is chosen."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given

from model.attention import (
    Attend,
    Attention,
    attend_on_cpu,
    attend_sdpa,
    choose_attention,
    torch_flash_attention,
)
from model.encoder import AttentionInputs
from model.packing import PackedBatch, pack
from tests.conftest import random_row
from tests.model.test_packing import CPU, random_rows, seeds
from tests.naive import naive_attention as naive


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
    assert (chosen.name, chosen.varlen) == ("torch FlashAttention", torch_flash_attention)
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert "flash_attn is installed and cannot be used: " in line.getMessage()


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
