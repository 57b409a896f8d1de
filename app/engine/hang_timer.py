"""HangTimer: calls back when a worker that holds jobs sends nothing for too long (promise 6).

1. While jobs are held and no message comes for `timeout_s`, `on_hang` is called, once.
2. Each message sets the whole time anew. That no job is held any more (callers hang up, deadlines
   pass) only stops the clock: otherwise short client timeouts would reset the timer.
3. There is a timer only while jobs are held: idle costs nothing.
4. Messages that came while this process itself was suspended are read before it judges.
"""

import asyncio
from collections.abc import Callable

# When the time is over, what has arrived in the socket is read first.
_GRACE_S = 1.0


class HangTimer:
    """The timer of one worker."""

    def __init__(self, timeout_s: float, on_hang: Callable[[], None]) -> None:
        self._timeout_s = self._left_s = timeout_s
        self._on_hang = on_hang
        self._then = self._begin_grace
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._timer: asyncio.Handle | None = None

    def start(self) -> None:
        """A job is held: the clock runs, if it does not yet."""
        if self._timer is None:
            self._due = self._loop.time() + self._left_s
            self._timer = self._loop.call_later(self._left_s, self._then)

    def pause(self) -> None:
        """No job is held."""
        if self._timer is not None:
            self._left_s = max(self._due - self._loop.time(), 0)
            self._timer.cancel()
            self._timer = None

    def reset(self) -> None:
        """A message has come."""
        running = self._timer is not None
        self.pause()
        self._left_s, self._then = self._timeout_s, self._begin_grace
        if running:
            self.start()

    def _begin_grace(self) -> None:
        self._timer, self._left_s, self._then = None, _GRACE_S, self._on_hang
        self.start()
