"""Memory of a process that serves or computes: freed tensors are kept for the next ones, kernels
not for each shape, and Python does not look for garbage among what was loaded."""

import ctypes
import gc
import os

# Parameters of malloc.h and what they are set to, by the variables from which glibc reads them:
# nothing is mapped by itself, and more than the activations of the longest row is kept.
_MALLOC = {"MALLOC_MMAP_MAX_": (-4, 0), "MALLOC_TRIM_THRESHOLD_": (-1, 1 << 30)}
# torch and oneDNN each cache kernels by the shape of their input: 0.2 MB a shape, 1,024 shapes for
# every kind of product, which is a gigabyte hardly used again. This caps both caches at 256 shapes:
# about 10 per batch, so 25 recent batch sizes (packing.py makes a hundred). What is cached lies
# between the tensors of batches, so that the heap needs as much again (tests/bench/README.md).
_PREPARED_SHAPES = 256
# The variables from which torch and oneDNN read how many they cache.
KERNEL_CACHES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")


def keep_fewer_shapes(shapes: int = _PREPARED_SHAPES) -> None:
    """Cap the caches of kernels, unless the environment does. Call it before torch is imported,
    which reads this then."""
    for cache in KERNEL_CACHES:
        os.environ.setdefault(cache, str(shapes))


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, unless the environment says when glibc is to
    return it.

    By default glibc returns blocks over 32 MB to the system and maps the next one page by page:
    half a million page faults in a batch of 4,096 tokens, a fifth of its time
    (tests/bench/README.md). Does nothing if the C library has no such setting.
    https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for variable, (parameter, value) in _MALLOC.items():
            if variable not in os.environ:
                mallopt(parameter, value)


def exempt_loaded_objects() -> None:
    """Have Python's garbage collector pass over the objects that are there now. Call it once, when
    everything is loaded.

    A full collection stops all threads for 50 ms among what an HTTP process has imported, and for
    130 ms among what a worker has (tests/bench/README.md).
    https://docs.python.org/3/library/gc.html#gc.freeze
    """
    gc.collect()
    gc.freeze()
