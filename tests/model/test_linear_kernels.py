"""Products with what follows them, against torch's own operations."""

import logging
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from model import linear_kernels
from model.linear_kernels import OneDnnLinear, TorchLinear, choose_linear_kernel, matches_torch
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
    "dtype", [torch.float32, pytest.param(torch.bfloat16, marks=BFLOAT16_PREPACKED)]
)
@pytest.mark.parametrize("tokens", [1, 2, 33, 700])
@pytest.mark.parametrize("then", ["nothing", "gelu", "residual"])
def test_the_fast_product_is_the_plain_one(dtype: torch.dtype, tokens: int, then: str) -> None:
    weight, bias = torch.randn(160, 96) / 10, torch.randn(160)
    x, residual = torch.randn(tokens, 96), torch.randn(tokens, 160)
    expected = torch.nn.functional.linear(x, weight, bias)
    if then == "gelu":
        expected = torch.nn.functional.gelu(expected)
    if then == "residual":
        expected = expected + residual
    product = OneDnnLinear(weight.to(dtype), bias.to(dtype), gelu=then == "gelu")
    with torch.inference_mode():
        found = product(x.to(dtype), residual.to(dtype) if then == "residual" else None)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)


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


def test_a_cpu_with_avx2_only_computes_bfloat16_by_plain_products_and_picks_float32_by_itself() -> (
    None
):
    """In a process of its own, whose libraries are told of no more than AVX2."""
    program = """
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
