"""Silence: how long a worker that is owed an answer has said nothing.

Promises:
1. When jobs are held (or the end is awaited) and no word comes for the longest time, `over` is
   called, once.
2. A word makes the whole time new. That nobody waits any more (callers hang up, deadlines pass)
   only stops the clock: else callers with little patience would hide a worker that hangs.
3. There is a timer only while jobs are held: idle costs nothing.
4. Words that came while this process itself stood still are heard before it judges.
"""

import asyncio
from collections.abc import Callable

# When the time is over, what is on the wire is read first.
_LAST_LOOK_S = 1.0


class Silence:
    """The clock of one worker."""

    def __init__(self, longest_s: float, over: Callable[[], None]) -> None:
        self._longest_s = self._left_s = longest_s
        self._over = over
        self._then = self._look
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._timer: asyncio.Handle | None = None

    def begin(self) -> None:
        """Jobs are held: the clock runs, if it does not yet."""
        if self._timer is None:
            self._due = self._loop.time() + self._left_s
            self._timer = self._loop.call_later(self._left_s, self._then)

    def pause(self) -> None:
        """No job is held."""
        if self._timer is not None:
            self._left_s = max(self._due - self._loop.time(), 0)
            self._timer.cancel()
            self._timer = None

    def broken(self) -> None:
        """The worker has said something."""
        running = self._timer is not None
        self.pause()
        self._left_s, self._then = self._longest_s, self._look
        if running:
            self.begin()

    def _look(self) -> None:
        self._timer, self._left_s, self._then = None, _LAST_LOOK_S, self._over
        self.begin()
