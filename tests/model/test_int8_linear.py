"""int8: the layers against plain float products, whole models against float32."""

import logging
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model import embedder
from model.config import CheckpointError
from model.int8_linear import (
    Int8AdaptedLinear,
    Int8Linear,
    check_int8,
    largest_weight,
    quantise_tokens,
)
from model.linear_kernels import LinearKernels, TorchLinear
from tests.checkpoints import MINI

CPU = torch.device("cpu")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


# Without these instructions oneDNN halves the weights, lest sums of 16 bits overflow.
EXACT = torch.cpu._is_vnni_supported()


@DTYPES
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), tokens=st.integers(1, 40), exponent=st.integers(-20, 20))
def test_numbers_are_half_a_step_away_at_most_and_a_token_is_alone_with_its_scale(
    dtype: torch.dtype, seed: int, tokens: int, exponent: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    x = (torch.randn(tokens, 48, generator=random) * 2.0**exponent).to(dtype)
    before = x.clone()
    q, scales = quantise_tokens(x)
    assert torch.equal(x, before)
    assert scales.dtype == dtype
    steps = (x.float() / scales.float() - (q.float() - 128)).abs()
    assert steps.max() <= 0.5 + 1e-3
    assert q.min() >= 1
    for token in range(tokens):
        alone, scale = quantise_tokens(x[token : token + 1])
        assert torch.equal(alone[0], q[token])
        assert torch.equal(scale[0], scales[token])


def test_many_tokens_are_quantised_as_few_are() -> None:
    x = torch.randn(3000, 700)
    q, scales = quantise_tokens(x)
    for part in (slice(0, 5), slice(1490, 1502), slice(2995, 3000)):
        few, their_scales = quantise_tokens(x[part])
        assert torch.equal(q[part], few)
        assert torch.equal(scales[part], their_scales)


@DTYPES
@pytest.mark.parametrize("tokens", [1, 7, 64, 300])
@pytest.mark.parametrize("gelu", [False, True])
def test_a_product_is_that_of_the_quantised_numbers(
    dtype: torch.dtype, tokens: int, gelu: bool
) -> None:
    """Judged by a plain product in float64 of the same rounded numbers."""
    x, weight, addend = (torch.randn(size) for size in ((tokens, 96), (160, 96), (tokens, 160)))
    x, addend = x.to(dtype), addend.to(dtype)
    found = Int8Linear(weight, gelu=gelu)(x, addend)
    step = weight.abs().amax(1, keepdim=True) / largest_weight()
    q, scales = quantise_tokens(x)
    rounded = (q.double() - 128) * scales.double()
    expected = rounded @ ((weight / step).round() * step).double().T + addend.double()
    if gelu:
        expected = torch.nn.functional.gelu(expected)
    error = float((found.double() - expected).norm() / expected.norm())
    assert error < (0.005 if dtype == torch.bfloat16 else 1e-5 if EXACT else 0.003)


@DTYPES
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_the_largest_numbers_do_not_overflow(dtype: torch.dtype, sign: int) -> None:
    """CPUs without VNNI add two products in 16 bits."""
    x, weight, none = torch.ones(3, 96), sign * torch.ones(32, 96), torch.zeros(32)
    found = Int8Linear(weight)(x.to(dtype), none.to(dtype)).float()
    torch.testing.assert_close(found, torch.full_like(found, 96.0 * sign), rtol=0.02, atol=0)


def test_zeros_stay_zeros_and_what_is_not_finite_does_not_become_finite() -> None:
    linear, none = Int8Linear(torch.randn(16, 32)), torch.zeros(16)
    x = torch.randn(4, 32)
    x[1], x[2, 3], x[3, 5] = 0, torch.nan, torch.inf
    y = linear(x, none)
    assert torch.equal(y[1], none)
    assert y[0].isfinite().all()
    assert not y[2].isfinite().any()
    assert not y[3].isfinite().any()


def _layer(gelu: bool) -> tuple[Int8AdaptedLinear, Tensor]:
    weight, bias = torch.randn(64, 32), torch.randn(64)
    lora = torch.randn(5, 4, 32), torch.randn(5, 64, 4)
    kernels = LinearKernels(TorchLinear, TorchLinear)
    return Int8AdaptedLinear(kernels, weight, bias, lora, gelu=gelu), bias


def test_a_layer_without_any_adapter_adds_bias_and_residual() -> None:
    layer, bias = _layer(gelu=False)
    x, residual = torch.randn(9, 32), torch.randn(9, 64)
    with torch.inference_mode():
        plain = layer(x, None)
        torch.testing.assert_close(layer(x, None, residual), plain + residual)
        torch.testing.assert_close(layer(torch.zeros(2, 32), None), bias.expand(2, 64))


@pytest.fixture(scope="module")
def quintet() -> embedder.Embedder:
    """quintet-mini in int8."""
    return embedder.load(MINI, "cpu", "int8")


TEXTS = [
    "How long does a parcel to Norway take?",
    "Wie lange dauert ein Paket nach Norwegen?",
    "荷物がノルウェーに届くまで何日かかりますか",
    "The museum opens at nine; on Mondays it is closed.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen. " * 12,
]


def test_a_trained_model_keeps_its_vectors(quintet: embedder.Embedder) -> None:
    exact = embedder.load(MINI, "cpu", "float32")
    assert quintet.dtype == "int8"
    assert quintet.parameters == exact.parameters
    for task in (*exact.tasks.names, "none"):
        found, expected = (each.embed_texts(TEXTS, task) for each in (quintet, exact))
        assert float(np.mean((found * expected).sum(1))) >= 0.995, task


def test_a_row_has_the_same_vector_alone_and_in_any_mixture(quintet: embedder.Embedder) -> None:
    rows = [
        row
        for task in (*quintet.tasks.names, "none")
        for row in quintet.tokenizer.rows(TEXTS, quintet.tasks.by_argument(task)).rows
    ]
    order = np.random.default_rng().permutation(len(rows))
    mixed = np.empty((len(rows), quintet.config.hidden_size), np.float32)
    mixed[order] = quintet.embed([rows[index] for index in order])
    alone = np.concatenate([quintet.embed([row]) for row in rows])
    cosines = (mixed * alone).sum(1) / np.linalg.norm(mixed, axis=1) / np.linalg.norm(alone, axis=1)
    assert cosines.min() >= 0.9999


def test_loading_says_how_fast_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        check_int8(CPU, torch.float32, TorchLinear, (1536, 384))
        embedder.load(MINI, "cpu", "int8")
    assert "int8 products are" in caplog.text


class Off(TorchLinear):
    """A float product that int8 differs from, as it would if int8 were wrong."""

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return 1.2 * super().forward(x, residual)


class Quick(TorchLinear):
    """A float product that int8 is slow beside, as it would be without kernels of its own."""

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        few = super().forward(x[:8], residual)
        return few if len(x) <= 8 else few[:1]


class Kept(Quick):
    """The same, kept waiting for a core by other processes."""

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if len(x) > 8:
            time.sleep(0.1)
        return super().forward(x, residual)


def test_waiting_for_a_core_does_not_count_as_computing() -> None:
    before = torch.get_num_threads()
    with pytest.raises(CheckpointError, match=r"takes \d+\.\d times as long as in float; choose"):
        check_int8(CPU, torch.float32, Kept, (1024, 1024))
    assert torch.get_num_threads() == before


def test_other_values_slow_products_and_gpus_are_refused() -> None:
    assert check_int8(CPU, torch.float32, TorchLinear, (1024, 1024)) > 0.5
    with pytest.raises(CheckpointError, match=r"a product is off by 1\d%; choose auto"):
        check_int8(CPU, torch.float32, Off, (64, 32))
    with pytest.raises(CheckpointError, match=r"takes \d+\.\d times as long as in float; choose"):
        check_int8(CPU, torch.float32, Quick, (1024, 1024))
    with pytest.raises(CheckpointError, match="int8 computes on a CPU only; for cuda:0 choose"):
        check_int8(torch.device("cuda:0"), torch.bfloat16, TorchLinear, (64, 32))


def test_a_cpu_with_avx2_only_computes_the_same() -> None:
    """In a process of its own, whose libraries are told of no more than AVX2."""
    program = f"""
from model import embedder
quintet, exact = (embedder.load({str(MINI)!r}, "cpu", dtype) for dtype in ("int8", "float32"))
found, expected = (each.embed_texts({TEXTS!r}) for each in (quintet, exact))
print((found * expected).sum(1).min())
"""
    limited = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **limited},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert float(done.stdout) > 0.99
