"""Pipes: what a tool does when whoever reads its standard output leaves."""

import os
import sys


def forget_output() -> None:
    """Send what is still to come to nowhere, so that it does not fail once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
