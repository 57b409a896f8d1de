"""Freed memory is kept, measured by page faults, and what was loaded is no garbage: in processes of
their own."""

import os
import platform
import subprocess
import sys

import pytest

AGAIN = """
from resource import RUSAGE_SELF, getrusage
{before}
size = 64 << 20
bytearray(b"x") * size
faults = getrusage(RUSAGE_SELF).ru_minflt
bytearray(b"x") * size
print(getrusage(RUSAGE_SELF).ru_minflt - faults)
"""
KEEP = "from model.memory import keep_freed_memory; keep_freed_memory()"


# What glibc does by itself, but that its thresholds stay where they are.
OF_GLIBC = {"MALLOC_MMAP_MAX_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}


def faults_of_the_second(before: str, **environment: str) -> int:
    """Page faults of a block of 64 MB after such a one was freed."""
    command = [sys.executable, "-c", AGAIN.format(before=before)]
    environment = {**os.environ, **environment}
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_a_block_that_was_freed_is_taken_again_without_page_faults() -> None:
    assert faults_of_the_second("") > 10_000, "the system gives pages of 4 KB, block by block"
    assert faults_of_the_second(KEEP) < 100
    assert faults_of_the_second(KEEP, **OF_GLIBC) > 10_000, "the environment's word comes first"


EXEMPT = """
import gc
import weakref
from model.memory import exempt_loaded_objects


class Node: pass


def circle():
    node = Node()
    node.itself = node
    return node


loaded, garbage_before = circle(), weakref.ref(circle())
{before}
watched = sum(each is loaded for each in gc.get_objects())
garbage_after = weakref.ref(circle())
gc.collect()
print(watched, garbage_before() is None, garbage_after() is None, loaded.itself is loaded)
"""


@pytest.mark.parametrize(("before", "watched"), [("", "1"), ("exempt_loaded_objects()", "0")])
def test_what_was_loaded_is_not_looked_at_and_garbage_is_still_collected(
    before: str, watched: str
) -> None:
    code = EXEMPT.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [watched, "True", "True", "True"]
