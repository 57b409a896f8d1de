"""Answers that callers are slow to read, of all connections of a process together."""

import asyncio
import logging

log = logging.getLogger("quintet.guard")


class UnreadAnswers:
    """Bounds the memory of answers on their way: past `limit` bytes the connection is aborted that
    has waited longest, and so on, but never that of the newest answer.

    What a connection buffers anyway, 64 KiB, does not count: its transport calls `add` above that
    and `discard` below.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[asyncio.Transport, None] = {}  # longest first

    def add(self, transport: asyncio.Transport) -> None:
        """An answer waits to be read."""
        self._waiting[transport] = None
        unsent = {each: each.get_write_buffer_size() for each in self._waiting}
        total = sum(unsent.values())
        *others, _ = unsent
        for each in others:
            if total <= self._limit:
                return
            log.warning(
                "answers that nobody reads have %d bytes, %d are kept: the %d of the oldest one "
                "are dropped",
                *(total, self._limit, unsent[each]),
            )
            total -= unsent[each]
            self.discard(each)
            # Not inside of the transport's own call.
            asyncio.get_running_loop().call_soon(each.abort)

    def discard(self, transport: asyncio.Transport) -> None:
        """It was read, or its connection is lost."""
        self._waiting.pop(transport, None)
