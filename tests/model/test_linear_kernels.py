"""Products with what follows them, against torch's own operations."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model import linear_kernels
from model.linear_kernels import (
    FbgemmLinear,
    LinearKernel,
    OneDnnLinear,
    TorchLinear,
    choose_linear_kernel,
    matches_torch,
)
from tests.checkpoints import Shape, write_original
from tests.conftest import BFLOAT16_PREPACKED

CPU = torch.device("cpu")


class WithoutBias(TorchLinear):
    """A kernel with a defect."""

    def __init__(self, weight: Tensor, _: Tensor | None, *, gelu: bool = False) -> None:
        super().__init__(weight, None, gelu=gelu)


class OfAnotherTorch(TorchLinear):
    """A private operation that has changed."""

    def forward(self, *_: Tensor | None) -> Tensor:
        raise RuntimeError("_linear_pointwise() is missing value for argument")


@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [
        (FbgemmLinear, torch.float32),
        (OneDnnLinear, torch.float32),
        pytest.param(OneDnnLinear, torch.bfloat16, marks=BFLOAT16_PREPACKED),
    ],
)
@pytest.mark.parametrize("tokens", [1, 2, 33, 700])
@pytest.mark.parametrize("then", ["nothing", "gelu", "residual"])
def test_the_fast_product_is_the_plain_one(
    kernel: type[LinearKernel], dtype: torch.dtype, tokens: int, then: str
) -> None:
    weight, bias = (torch.randn(160, 96) / 10).half().float(), torch.randn(160)
    x, residual = torch.randn(tokens, 96), torch.randn(tokens, 160)
    expected = torch.nn.functional.linear(x, weight, bias)
    if then == "gelu":
        expected = torch.nn.functional.gelu(expected)
    if then == "residual":
        expected = expected + residual
    product = kernel(weight.to(dtype), bias.to(dtype), gelu=then == "gelu")
    before = x.to(dtype), residual.to(dtype)
    with torch.inference_mode():
        found = product(before[0], before[1] if then == "residual" else None)
    assert torch.equal(before[0], x.to(dtype))
    assert torch.equal(before[1], residual.to(dtype))
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 200), st.integers(1, 600)),
    exponent=st.integers(-24, 10),
)
def test_weights_in_float16_are_rounded_and_nothing_else_is(
    seed: int, sizes: tuple[int, int, int], exponent: int
) -> None:
    """Judged by a product in float64. Of 2^-24 the smallest numbers of float16 are left."""
    tokens, outputs, inputs = sizes
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, inputs, generator=random)
    weight = torch.randn(outputs, inputs, generator=random) * 2.0**exponent
    bias = torch.randn(outputs, generator=random)
    product = FbgemmLinear(weight, bias)
    assert torch.equal(product.dense_weight(), weight.half().float())
    rounded = weight.half().double()
    bound = 1e-6 * inputs * (x.abs().double() @ rounded.abs().T + bias.abs())
    assert ((product(x).double() - (x.double() @ rounded.T + bias)).abs() <= bound).all()


def test_weights_that_float16_cannot_hold_are_refused() -> None:
    weight = torch.ones(64, 32)
    weight[5, 7] = torch.finfo(torch.float16).max
    assert torch.equal(FbgemmLinear(weight, None).dense_weight(), weight)
    for number in (66_000.0, -1e9, torch.inf, torch.nan):
        weight[5, 7] = number
        with pytest.raises(OverflowError, match=r"a weight of .* is out of the range of float16"):
            FbgemmLinear(weight, None)


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_token_that_is_not_finite_reaches_no_other(number: float) -> None:
    product = FbgemmLinear(torch.randn(96, 64), torch.randn(96))
    x = torch.randn(41, 64)
    expected = product(x)
    x[17, 3] = number
    y = product(x)
    assert not y[17].isfinite().any()
    others = torch.arange(41) != 17
    assert torch.equal(y[others], expected[others])


def test_it_is_what_a_cpu_takes() -> None:
    assert choose_linear_kernel(CPU, torch.float32) is OneDnnLinear
    assert choose_linear_kernel(CPU, torch.float16) is TorchLinear
    assert choose_linear_kernel(torch.device("cuda"), torch.bfloat16) is TorchLinear


@pytest.mark.parametrize("broken", [WithoutBias, OfAnotherTorch])
def test_a_torch_without_it_takes_the_plain_one_and_says_so(
    broken: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert matches_torch(OneDnnLinear, torch.float32)
    monkeypatch.setattr(linear_kernels, "OneDnnLinear", broken)
    with caplog.at_level(logging.WARNING):
        assert choose_linear_kernel(CPU, torch.float32) is TorchLinear
    assert "oneDNN's prepacked products cannot be used" in caplog.text


def test_a_cpu_with_avx2_only_computes_bfloat16_by_plain_products_and_picks_another_by_itself(
    tmp_path: Path,
) -> None:
    """In a process of its own, whose libraries are told of no more than AVX2."""
    wide = write_original(tmp_path / "wide", Shape(width=512, heads=8, dtype=torch.bfloat16))
    program = f"""
import logging
import numpy as np, torch
from model import embedder
from model.linear_kernels import OneDnnLinear, TorchLinear, matches_torch

logging.basicConfig(level=logging.WARNING)
asked = embedder.load("model/mini", dtype="bfloat16")
chosen = embedder.load("model/mini")
assert chosen.dtype == "float32", chosen.dtype
assert any(isinstance(module, TorchLinear) for module in asked.encoder.modules())
assert matches_torch(OneDnnLinear, torch.float32)  # its GELU is another one there
texts = ["Guten Morgen!", "a longer text about something else " * 20]
cosines = (asked.embed_texts(texts, "separation") * chosen.embed_texts(texts, "separation")).sum(1)
assert cosines.min() > 0.999, cosines
assert embedder.load({str(wide)!r}).dtype == "float16"
"""
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "oneDNN's prepacked products cannot be used" in done.stderr
