"""Work in threads: nothing waits behind them but coroutines."""

import asyncio
import gc
import threading
import weakref
from functools import partial

from app.api.work_threads import WorkThreads


class Text(str):
    """A text that can be referred to weakly."""

    __slots__ = ("__weakref__",)


def test_the_work_of_a_caller_who_hangs_up_is_gone_while_the_threads_are_busy() -> None:
    may_end = threading.Event()

    async def work() -> None:
        threads = WorkThreads(1)
        busy = asyncio.create_task(threads.run(may_end.wait))
        given = Text("of a caller who hangs up")
        seen = weakref.ref(given)
        waiting = asyncio.create_task(threads.run(partial(len, given)))
        del given
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        del waiting
        gc.collect()
        gone = seen() is None
        may_end.set()
        assert await busy
        assert gone
        assert await threads.run(partial(len, "next")) == 4

    asyncio.run(work())


def test_a_thread_is_free_when_its_work_has_ended_and_not_when_its_caller_hangs_up() -> None:
    may_end, running, most = threading.Event(), 0, 0

    def count() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        may_end.wait()
        running -= 1

    async def work() -> None:
        threads = WorkThreads(1)
        first = asyncio.create_task(threads.run(count))
        await asyncio.sleep(0)
        first.cancel()
        second = asyncio.create_task(threads.run(lambda: "done"))
        early, _ = await asyncio.wait({second}, timeout=0.05)
        may_end.set()
        assert await second == "done"
        assert not early
        assert most == 1

    asyncio.run(work())
