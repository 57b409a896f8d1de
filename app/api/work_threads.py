"""Threads for what takes too long for the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class WorkThreads:
    """So many threads, without a queue: what waits for one is held by the coroutine that waits, and
    so is gone when its caller hangs up."""

    def __init__(self, number: int) -> None:
        self._threads = ThreadPoolExecutor(number, "tokenize")
        self._free = asyncio.Semaphore(number)

    async def run(self, work: Callable[[], T]) -> T:
        """What the work returns."""
        loop = asyncio.get_running_loop()
        await self._free.acquire()
        doing = self._threads.submit(work)
        # When the thread is free, which a cancellation does not wait for.
        doing.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free.release))
        try:
            return await asyncio.wrap_future(doing)
        finally:
            # An exception's traceback has this frame, which would lead to the exception again.
            del doing
