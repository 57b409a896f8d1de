"""Discards standard output whose reader has closed the pipe."""

import os
import sys


def discard_output() -> None:
    """Discard what is still to be written to standard output, so that the exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
