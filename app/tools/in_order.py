"""Concurrent work on a stream of items, whose results are stored in the order of the stream.

Promises
1. Results are stored in the order of the items, however the work on them overtakes each other.
2. A result is stored whole, once, before any later one is, and as soon as it is the next one, also
   while the stream is waited for; whoever is interrupted repeats only what was in progress: at most
   2 * concurrency items.
3. At most `concurrency` items are worked on at once, and 2 * concurrency are in memory.
4. When the work on an item fails, or the stream does, no further item is begun; the earlier ones
   are finished and stored.
5. An interrupt begins nothing more and waits for no result.
"""

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from app.tools.tool_errors import ToolError

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")


async def map_in_order(
    items: Iterator[Item],
    work: Callable[[Item], Awaitable[Result]],
    store: Callable[[Result], Awaitable[None]],
    concurrency: int,
) -> None:
    """Call `store` with the result of `work` for each item.

    Raises:
        ToolError: the first one, in the order of the items, that the arguments raise.
    """
    slots, turn, more = asyncio.Semaphore(concurrency), asyncio.Lock(), True

    async def next_result() -> list[Result]:
        """The result of the next item, if there is one. Whoever is called first reads first."""
        nonlocal more
        try:
            async with turn:
                # A list, since StopIteration cannot be the exception of a future.
                item = await in_thread(lambda: [*itertools.islice(items, 1)]) if more else []
                more = more and bool(item)
                if not more:
                    return []
            async with slots:
                return [await work(item[0])]
        except ToolError:
            more = False
            raise

    pending = deque(asyncio.create_task(next_result()) for _ in range(2 * concurrency))
    try:
        while pending:
            for result in await pending.popleft():
                await store(result)
                pending.append(asyncio.create_task(next_result()))
    finally:
        for waiting in pending:
            waiting.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def in_thread(work: Callable[[], T]) -> T:
    """The result of `work`, done in a daemon thread: reading a pipe or writing to one may block for
    ever, and at exit Python waits for any other thread."""
    result: Future[T] = Future()
    result.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001  (raised again where it is awaited)
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(result)
