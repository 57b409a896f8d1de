"""Launched batch: a forward pass that a GPU computes while its host does something else.

S spans, D hidden.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.rows import Vectors


class LaunchedBatch:
    """A forward pass that was started, and the copy of its results to this machine's memory."""

    def __init__(self, vectors: Tensor) -> None:
        """`vectors` (S, D) are on the device, which must be the current one."""
        self._vectors = vectors.to("cpu", non_blocking=True)
        self._finite = vectors.isfinite().all(1).to("cpu", non_blocking=True)
        self._copied = torch.cuda.Event() if vectors.is_cuda else None
        if self._copied is not None:
            self._copied.record()

    def read(self) -> tuple[Vectors, npt.NDArray[np.bool_]]:
        """Wait for the vectors (S, D) float32, not normalised, and whether each is finite (S,).

        Raises:
            RuntimeError: the device failed meanwhile.
        """
        if self._copied is not None:
            self._copied.synchronize()
        return self._vectors.numpy(), self._finite.numpy()
