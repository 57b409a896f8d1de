"""Types for argparse: the numbers that command-line options take.

Each raises argparse.ArgumentTypeError, whose sentence argparse prints, for any other text.
"""

import argparse
import math
from collections.abc import Callable

# Generators of random numbers take seeds of 32 bits.
_SEEDS = 2**32


def positive_int(text: str) -> int:
    """A whole number from 1 up."""
    return _int_from(1, text)


def positive_int_to(most: int) -> Callable[[str], int]:
    """A whole number from 1 to `most`."""

    def read(text: str) -> int:
        number = positive_int(text)
        if number > most:
            raise argparse.ArgumentTypeError(f"must be at most {most}, not {text}")
        return number

    return read


def non_negative_int(text: str) -> int:
    """A whole number from 0 up."""
    return _int_from(0, text)


def seed(text: str) -> int:
    """A whole number from 0 up that every generator of random numbers takes."""
    number = _int_from(0, text)
    if number >= _SEEDS:
        raise argparse.ArgumentTypeError(f"must be below {_SEEDS}, not {text}")
    return number


def finite_float(text: str) -> float:
    """A number, neither infinite nor nan."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be a number, not {text}")
    return number


def positive_float(text: str) -> float:
    """A number above 0."""
    number = finite_float(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return number


def non_negative_float(text: str) -> float:
    """A number from 0 up."""
    number = finite_float(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or above, not {text}")
    return number


def _int_from(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number from {least} up, not {text}")
    return int(text)
