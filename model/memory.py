"""Memory: has glibc keep the memory of freed tensors for the next ones."""

import ctypes

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
# More than the activations of the longest row.
_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees.

    By default glibc returns blocks over 32 MB to the system and maps the next one page by page:
    half a million page faults in a batch of 4,096 tokens, a fifth of its time
    (tests/bench/README.md). Does nothing if the C library has no such setting.
    https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
