"""RestartBackoff: when a child that has ended is started again; the pause doubles while it keeps
ending."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

log = logging.getLogger("quintet.engine")

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
# A child that has run this long has recovered: the next pause is short again.
_RECOVERED_S = 60.0


class RestartBackoff:
    """The starts of one child."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stopped = asyncio.Event()

    @property
    def stopped(self) -> bool:
        """Whether the child is not to be started again."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Do not start the child again."""
        self._stopped.set()

    async def starts(self) -> AsyncIterator[int]:
        """0, 1, ..: the number of each start when it is due, until `stop`."""
        pause, number = _FIRST_PAUSE_S, 0
        while not self.stopped:
            began = time.monotonic()
            yield number
            if self.stopped:
                return
            pause = _FIRST_PAUSE_S if time.monotonic() - began > _RECOVERED_S else pause
            log.error("%s ended; again in %.1f s", self._name, pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            number += 1
