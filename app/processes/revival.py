"""Revival: a process that ends is started again, after a pause that grows while it keeps ending."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

log = logging.getLogger("quintet.engine")

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
# Who has worked this long has recovered: the next pause is short again.
_RECOVERED_S = 60.0


class Revival:
    """The lives of one process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._finishing = asyncio.Event()

    @property
    def finishing(self) -> bool:
        """Whether there will be no further life."""
        return self._finishing.is_set()

    def finish(self) -> None:
        """Let the present life be the last."""
        self._finishing.set()

    async def lives(self) -> AsyncIterator[int]:
        """0, 1, ..: the number of each life when it should begin, until `finish`."""
        pause, life = _FIRST_PAUSE_S, 0
        while not self.finishing:
            began = time.monotonic()
            yield life
            if self.finishing:
                return
            pause = _FIRST_PAUSE_S if time.monotonic() - began > _RECOVERED_S else pause
            log.error("%s ended; again in %.1f s", self._name, pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._finishing.wait(), pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            life += 1
