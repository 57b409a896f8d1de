"""Types for argparse: the numbers that command-line options take.

Each raises argparse.ArgumentTypeError, whose sentence argparse prints, for any other text.
"""

import argparse


def positive_int(text: str) -> int:
    """A whole number from 1 up."""
    return _int_from(1, text)


def non_negative_int(text: str) -> int:
    """A whole number from 0 up."""
    return _int_from(0, text)


def _int_from(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number from {least} up, not {text}")
    return int(text)
