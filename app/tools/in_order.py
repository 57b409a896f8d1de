"""Concurrent work on a stream of items, whose results are stored in the order of the stream.

Promises
1. Results are stored in the order of the items, however the work on them overtakes each other.
2. A result is stored whole, once, before any later one is; whoever is interrupted repeats only what
   was in progress: at most 2 * concurrency items.
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
    slots = asyncio.Semaphore(concurrency)

    async def work_in_slot(item: Item) -> Result:
        async with slots:
            return await work(item)

    pending: deque[asyncio.Future[Result]] = deque()
    more = True
    try:
        while more or pending:
            if not more or len(pending) == 2 * concurrency:
                await store(await pending.popleft())
            elif (begun := await _begin_next(items, work_in_slot)) is not None:
                pending.append(begun)
            else:
                more = False
            more = more and not any(map(_has_failed, pending))
    finally:
        for waiting in pending:
            waiting.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _begin_next(
    items: Iterator[Item], work: Callable[[Item], Awaitable[Result]]
) -> asyncio.Future[Result] | None:
    """Begin the work on the next item, None if there is none; an error of the stream is the result
    of an item."""
    try:
        # A list, since StopIteration cannot be the exception of a future.
        following = await in_thread(lambda: [*itertools.islice(items, 1)])
    except ToolError as error:
        failure: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        failure.set_exception(error)
        return failure
    return asyncio.ensure_future(work(following[0])) if following else None


def _has_failed(result: asyncio.Future[Result]) -> bool:
    return result.done() and not result.cancelled() and result.exception() is not None


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
