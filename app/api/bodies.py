"""Bodies: how many bytes of them one process holds.

Promises:
1. Together they never have more than the limit, but for the first SMALL_BYTES of each: those are
   bounded by the number of connections, so small requests pass where large ones have taken all.
2. A body counts as it comes in, and until its request is answered, refused or gone. What is only
   announced takes nothing from others; what cannot fit is refused before it is read.
"""

import contextlib
from collections.abc import Iterator

from app.errors import BodiesFullError
from app.telemetry.metrics import Metrics

# What the server buffers of each connection anyway.
SMALL_BYTES = 65_536


class Bodies:
    """See the top of the file."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self.held = 0
        self._limit = limit
        self._metrics = metrics

    @contextlib.contextmanager
    def share(self) -> Iterator["Share"]:
        """What one request holds for as long as the block lasts."""
        share = Share(self)
        try:
            yield share
        finally:
            self.add(-share.counted)

    def check(self, more: int) -> None:
        """
        Raises:
            BodiesFullError: so many bytes more do not fit.
        """
        if more and self.held + more > self._limit:
            self._metrics.refused.labels("bodies full").inc()
            raise BodiesFullError(more, self.held, self._limit)

    def add(self, more: int) -> None:
        """So many bytes more are held, or fewer."""
        self.held += more
        self._metrics.body_bytes.inc(more)


class Share:
    """One request's part."""

    def __init__(self, bodies: Bodies) -> None:
        self.counted = 0
        self._bodies = bodies

    def expect(self, size: int) -> None:
        """A body of that many bytes is announced.

        Raises:
            BodiesFullError: it does not fit beside the others.
        """
        self._bodies.check(self._more(size))

    def grow(self, size: int) -> None:
        """That many bytes of it are here.

        Raises:
            BodiesFullError: they do not fit beside the others.
        """
        more = self._more(size)
        if more:
            self._bodies.check(more)
            self._bodies.add(more)
            self.counted += more

    def _more(self, size: int) -> int:
        return max(size - SMALL_BYTES - self.counted, 0)
