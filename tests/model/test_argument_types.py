"""The numbers that command-line options take, and the sentence for any other text."""

import argparse
from collections.abc import Callable

import pytest

from model.argument_types import non_negative_int, positive_int


@pytest.mark.parametrize(("read", "least"), [(positive_int, 1), (non_negative_int, 0)])
def test_a_number_is_read_and_any_other_text_refused(
    read: Callable[[str], int], least: int
) -> None:
    assert [read(str(number)) for number in (least, 7)] == [least, 7]
    for text in (str(least - 1), "1.5", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"from {least} up, not {text}$"):
            read(text)
