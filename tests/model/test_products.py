"""Products with what follows them, against torch's own operations."""

import logging

import pytest
import torch
from torch import Tensor

from model import products
from model.products import PlainProduct, PrepackedProduct, agrees, choose_product

CPU = torch.device("cpu")


class WithoutBias(PlainProduct):
    """A kernel with a defect."""

    def __init__(self, weight: Tensor, _: Tensor | None, *, gelu: bool = False) -> None:
        super().__init__(weight, None, gelu=gelu)


class OfAnotherTorch(PlainProduct):
    """A private operation that has changed."""

    def forward(self, *_: Tensor | None) -> Tensor:
        raise RuntimeError("_linear_pointwise() is missing value for argument")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
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
    product = PrepackedProduct(weight.to(dtype), bias.to(dtype), gelu=then == "gelu")
    with torch.inference_mode():
        found = product(x.to(dtype), residual.to(dtype) if then == "residual" else None)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)


def test_it_is_what_a_cpu_takes() -> None:
    assert choose_product(CPU, torch.float32) is PrepackedProduct
    assert choose_product(CPU, torch.float16) is PlainProduct
    assert choose_product(torch.device("cuda"), torch.bfloat16) is PlainProduct


@pytest.mark.parametrize("broken", [WithoutBias, OfAnotherTorch])
def test_a_torch_without_it_takes_the_plain_one_and_says_so(
    broken: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert agrees(PrepackedProduct, torch.bfloat16)
    monkeypatch.setattr(products, "PrepackedProduct", broken)
    with caplog.at_level(logging.WARNING):
        assert choose_product(CPU, torch.bfloat16) is PlainProduct
    assert "oneDNN's prepacked products cannot be used" in caplog.text
