"""Launched batch: a forward pass that a GPU computes while its host does something else.

S spans, D hidden.
"""

import torch
from torch import Tensor

from model.rows import Vectors


class LaunchedBatch:
    """A forward pass that was started, and the copy of its results to this machine's memory."""

    all_finite = False
    """Whether all vectors are known to be finite: the device says so, once they are read."""

    def __init__(self, vectors: Tensor) -> None:
        """`vectors` (S, D) are on the device, which must be the current one."""
        self._vectors = vectors.to("cpu", non_blocking=True)
        self._finite = vectors.isfinite().all().to("cpu", non_blocking=True)
        self._copied = torch.cuda.Event() if vectors.is_cuda else None
        if self._copied is not None:
            self._copied.record()

    def read(self) -> Vectors:
        """Wait for the vectors (S, D) float32, not normalised.

        Raises:
            RuntimeError: the device failed meanwhile.
        """
        if self._copied is not None:
            self._copied.synchronize()
        self.all_finite = bool(self._finite)
        return self._vectors.numpy()
