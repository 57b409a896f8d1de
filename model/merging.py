"""Merging policy: on a CPU, when one adapter's LoRA is merged into a copy of the weights."""

from model.packing import PackedBatch
from model.rows import NO_ADAPTER


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
