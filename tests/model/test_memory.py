"""What a process does with memory, and without: in processes of their own."""

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


def faults_of_the_second(before: str) -> int:
    """Page faults of a block of 64 MB after such a one was freed."""
    code = AGAIN.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_a_block_that_was_freed_is_taken_again_without_page_faults() -> None:
    assert faults_of_the_second("") > 10_000, "the system gives pages of 4 KB, block by block"
    assert faults_of_the_second(KEEP) < 100


NO_ROOM = """
import resource
import numpy as np
from model import embedder
from model.encoder import Merging
from model.rows import Row
from tests.checkpoints import MINI

quintet = embedder.load(MINI, "cpu", "float32")
quintet.encoder._merging = Merging(after_tokens=300)
task, other = (Row.single_span(np.arange(3, 103, dtype=np.int32), adapter) for adapter in (2, 4))
expected, others = quintet.embed([task])[0], quintet.embed([other])[0]
in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + (8 << 20), resource.RLIM_INFINITY))
for _ in range(10):
    np.testing.assert_array_equal(quintet.embed([task])[0], expected)
np.testing.assert_array_equal(quintet.embed([other])[0], others)
"""


def test_without_room_for_merged_weights_batches_go_on_without_them() -> None:
    command = [sys.executable, "-c", NO_ROOM]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("weights are not merged") == 1
