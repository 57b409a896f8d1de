"""The numbers that command-line options take, and the sentence for any other text."""

import argparse
from collections.abc import Callable

import pytest

from model.argument_types import (
    finite_float,
    non_negative_float,
    non_negative_int,
    positive_float,
    positive_int,
    positive_int_to,
    seed,
)


@pytest.mark.parametrize(("read", "least"), [(positive_int, 1), (non_negative_int, 0)])
def test_a_number_is_read_and_any_other_text_refused(
    read: Callable[[str], int], least: int
) -> None:
    assert [read(str(number)) for number in (least, 7)] == [least, 7]
    for text in (str(least - 1), "1.5", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"from {least} up, not {text}$"):
            read(text)


@pytest.mark.parametrize(
    ("read", "texts", "sentence"),
    [
        (seed, ("-1", "0.5", "x"), "must be a whole number from 0 up, not "),
        (seed, (str(2**32),), "must be below 4294967296, not "),
        (finite_float, ("nan", "inf", "-Infinity", "1e999", "x", ""), "must be a number, not "),
        (positive_int_to(7), ("0", "-1"), "must be a whole number from 1 up, not "),
        (positive_int_to(7), ("8", "9" * 30), "must be at most 7, not "),
        (non_negative_float, ("nan", "inf"), "must be a number, not "),
        (non_negative_float, ("-0.1",), "must be 0 or above, not "),
        (positive_float, ("nan", "inf", "x"), "must be a number, not "),
        (positive_float, ("0", "-1"), "must be above 0, not "),
    ],
)
def test_numbers_that_mean_nothing_are_refused(
    read: Callable[[str], float], texts: tuple[str, ...], sentence: str
) -> None:
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match=f"^{sentence}{text}$"):
            read(text)


def test_numbers_are_read() -> None:
    assert [seed("0"), seed(str(2**32 - 1))] == [0, 2**32 - 1]
    assert [finite_float("-1"), positive_float("1e-3")] == [-1, 0.001]
    assert [non_negative_float("0"), positive_int_to(7)("7")] == [0, 7]
