"""Merging: on a CPU, the copy of the weights with one adapter's LoRA, and when it is made."""

import logging
import threading

from model.config import CheckpointError
from model.encoder import Encoder, MergedWeights
from model.packing import PackedBatch
from model.rows import NO_ADAPTER

log = logging.getLogger("quintet.model")


class MergePolicy:
    """Says yes once at least `after_tokens` tokens in a row had one and the same adapter.

    Merged weights save 5 to 8 % of a batch's time. They cost a second copy of the blocks' weights
    and, each time the adapter changes, the time of some hundred tokens (tests/bench/README.md).
    """

    def __init__(self, after_tokens: int = 16_384) -> None:
        self._after_tokens = after_tokens
        self._adapter = NO_ADAPTER  # the only adapter of the last batches
        self._tokens = 0  # how many tokens those batches had

    def should_merge(self, batch: PackedBatch) -> bool:
        """Whether this batch, the next one to be computed, continues a long run of one adapter."""
        same = batch.only_adapter == self._adapter
        self._adapter = batch.only_adapter
        self._tokens = len(batch.token_ids) + (self._tokens if same else 0)
        return self._adapter != NO_ADAPTER and self._tokens >= self._after_tokens


class MergedCopy:
    """The merged weights of one adapter at a time, or of all from the start. Batches may ask for
    them on several threads; one that has got weights keeps them, whatever is merged meanwhile."""

    def __init__(self, encoder: Encoder, policy: MergePolicy) -> None:
        self.weights: dict[int, MergedWeights] = {}  # by adapter
        self._encoder = encoder
        self._policy: MergePolicy | None = policy
        self._lock = threading.Lock()

    def merge_all(self) -> None:
        """Have merged weights for each adapter.

        Raises:
            RuntimeError, MemoryError: there is no memory for them.
            CheckpointError: a merged weight is out of the range of float16.
        """
        adapters = range(len(self._encoder.config.tasks))
        try:
            self.weights = {adapter: self._encoder.merged(adapter) for adapter in adapters}
        except OverflowError as error:
            sentence = "leave adapters stacked, or choose float32 or bfloat16"
            raise CheckpointError(f"adapters cannot be merged: {error}; {sentence}.") from None
        self._policy = None

    def weights_for(self, batch: PackedBatch) -> MergedWeights | None:
        """Merged weights for this batch, the next one to be computed, if there are any or if that
        pays."""
        with self._lock:
            if self._policy is not None and self._policy.should_merge(batch):
                self._merge(batch.only_adapter)
            return self.weights.get(batch.only_adapter)

    def _merge(self, adapter: int) -> None:
        if adapter in self.weights:
            return
        self.weights = {}  # their memory first
        try:
            self.weights = {adapter: self._encoder.merged(adapter)}
        except (RuntimeError, MemoryError, OverflowError) as error:  # batches need the memory more
            log.warning("weights are not merged, so long runs of a task are slower: %s", error)
            self._policy = None
