"""The next batch, planned and packed, and what the board asks of those that run."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from app.engine.row_scheduler import BatchPlan
from model.rows import Row

Packed = TypeVar("Packed")


@dataclass(frozen=True, slots=True, eq=False)
class NextBatch:
    """A plan with its rows, and the number of spans of each share."""

    plan: BatchPlan
    rows: list[Row]
    share_spans: list[int]


@dataclass(frozen=True, slots=True, eq=False)
class PreparedBatch(Generic[Packed]):
    """A batch whose tensors are ready; packing them took so many seconds of a thread's time."""

    next: NextBatch
    packed: Packed
    seconds: float


class Running(Protocol):
    """A batch that the device has been given."""

    def done(self) -> bool:
        """Whether its vectors are there, or it has failed."""
