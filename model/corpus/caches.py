"""Caches of torch and oneDNN, which keep what they have prepared for each shape of a batch."""

import os

# By default they keep 1,024 shapes each, which is gigabytes where a batch has any number of tokens
# (tests/bench/README.md).
_SHAPES = "256"


def keep_fewer_shapes() -> None:
    """Call it before torch is imported, which reads this then."""
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(cache, _SHAPES)
