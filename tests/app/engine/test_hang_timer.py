"""A worker that hangs: the timer on a loop whose clock jumps, and that the worker is killed."""

import asyncio
import concurrent.futures
import contextlib
import selectors
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from app.engine import messages
from app.engine.client import EngineClient, EngineLimits, WorkerLink
from app.engine.control import LinkWorker, WorkerStarted
from app.engine.hang_timer import HangTimer
from app.engine.queue_table import QueueTable, make_table
from app.errors import WorkerLostError
from app.telemetry.metrics import ServiceMetrics
from model.rows import Row
from model.spaces import Fingerprint
from tests.app.engine.test_promises import LONGER_BULK, first_batch_done
from tests.server import Service, running

LONGEST_S = 10
# With the grace.
HANGS_S = LONGEST_S + 1


class JumpingLoop(asyncio.SelectorEventLoop):
    """Where nothing is to be done the clock jumps to the next timer."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits = selectors.DefaultSelector()
        super().__init__(self)  # type: ignore[arg-type]

    def time(self) -> float:
        return self.now

    def select(self, timeout: float | None = None) -> list[Any]:
        events = self.waits.select(0)
        if not events:
            assert timeout is not None, "nothing will ever happen"
            self.now += max(timeout, 0)
        return events

    def __getattr__(self, name: str) -> Any:
        return getattr(self.waits, name)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(main())


EVENTS = st.tuples(st.sampled_from(["start", "pause", "reset"]), st.integers(0, 12))


@given(st.lists(EVENTS, max_size=30))
def test_it_is_over_when_jobs_were_held_for_the_longest_time_without_a_message(
    events: list[tuple[str, int]],
) -> None:
    async def main() -> None:
        loop, calls = asyncio.get_running_loop(), []
        timer = HangTimer(LONGEST_S, lambda: calls.append(loop.time()))
        held, silent, due = False, 0, []
        for event, seconds in events:
            getattr(timer, event)()
            held = {"start": True, "pause": False, "reset": held}[event]
            silent = 0 if event == "reset" else silent
            if held and not due and silent + seconds >= HANGS_S:
                due = [loop.time() + HANGS_S - silent]
            silent += seconds if held else 0
            await asyncio.sleep(seconds + 1e-9)
            if due:
                break
        assert calls == pytest.approx(due, abs=1e-6)

    run(main)


def test_it_has_a_timer_only_while_jobs_are_held() -> None:
    async def main() -> None:
        timer = HangTimer(LONGEST_S, lambda: None)
        assert not timers()
        timer.start()
        assert len(timers()) == 1
        timer.reset()
        assert len(timers()) == 1
        timer.pause()
        timer.reset()
        assert not timers()

    def timers() -> list[asyncio.TimerHandle]:
        waiting = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        return [timer for timer in waiting if not timer.cancelled()]

    run(main)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_may_pause_when_next_to_nothing_is_left(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """uvloop has no timer for less than half a millisecond, only a call that does not wait."""

    async def main() -> None:
        over = asyncio.Event()
        timer = HangTimer(1e-4, over.set)
        for _ in range(2):
            timer.start()
            timer.pause()
        timer.start()
        timer.reset()
        await asyncio.wait_for(over.wait(), HANGS_S)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_a_message_that_came_while_this_process_was_suspended_is_read_first() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        loop, calls = asyncio.get_running_loop(), []
        assert isinstance(loop, JumpingLoop)
        reader, writer = await asyncio.open_connection(sock=ours)
        timer = HangTimer(LONGEST_S, lambda: calls.append("over"))

        async def listen() -> None:
            while await reader.read(1):
                timer.reset()

        listening = asyncio.create_task(listen())
        timer.start()
        await asyncio.sleep(1)
        theirs.sendall(b"x")
        loop.now += 100  # the process is stopped, or swapped out
        await asyncio.sleep(LONGEST_S - 1)
        assert not calls
        theirs.close()
        await listening
        timer.pause()
        writer.close()

    run(main)


ROWS = [Row.single_span(np.arange(3, dtype=np.int32), None)]


@contextlib.asynccontextmanager
async def linked(
    process: int, timeout_s: float
) -> AsyncIterator[tuple[EngineClient, socket.socket]]:
    """An engine with one worker, and that one's end of the stream."""
    ours, theirs = socket.socketpair()
    metrics = ServiceMetrics("0", "a model", ())
    limits = EngineLimits(100, 100, 600, timeout_s, cache_bytes=0)
    engine = EngineClient(limits, 4, QueueTable(make_table(1, 1), 1), metrics)
    loaded = Fingerprint("", ())
    started = WorkerStarted("a device", "float32", "none", 0, 100, 0.0, process, loaded)
    with theirs:
        streams = await asyncio.open_connection(sock=ours)
        link = WorkerLink(LinkWorker(0, started), streams, engine)
        engine.add_link(link)
        collecting = asyncio.create_task(link.collect())
        yield engine, theirs
    await collecting


def test_callers_who_go_or_come_while_a_worker_is_killed_are_answered_as_ever() -> None:
    """uvloop's transports raise RuntimeError when they are written to after their end."""

    async def main() -> None:
        async with linked(worker.pid, LONGEST_S) as (engine, _):
            (link,) = engine._links
            gone = asyncio.create_task(engine.embed(ROWS))
            await asyncio.sleep(0)
            link._kill()
            late = asyncio.create_task(engine.embed(ROWS))
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            with pytest.raises(WorkerLostError):
                await late

    with subprocess.Popen(["sleep", "600"]) as worker:
        uvloop.run(main())


def test_the_jobs_of_a_worker_that_cannot_even_be_killed_are_answered() -> None:
    """Its end of the stream stays open, as that of a process does which a driver holds."""

    async def main() -> None:
        async with linked(worker.pid, 0.05) as (engine, _):
            with pytest.raises(WorkerLostError) as lost:
                await engine.embed(ROWS)
            assert lost.value.retry_after_s == 1

    with subprocess.Popen(["sleep", "600"]) as worker:
        asyncio.run(main())
        assert worker.wait(30) == -9


def test_a_slow_worker_is_not_killed_nor_an_idle_one() -> None:
    """The slow one's batches come in time, its result much later."""

    async def main() -> None:
        async with linked(worker.pid, LONGEST_S) as (engine, theirs):
            embedding = asyncio.create_task(engine.embed(ROWS))
            for _ in range(20):
                await asyncio.sleep(LONGEST_S - 1)
                theirs.sendall(messages.frame(messages.BatchDone(1, 3, 1, 0.1)))
            result = messages.result_message(0, np.ones((1, 4), np.float32), 0.0)
            theirs.sendall(messages.frame(result))
            assert (await embedding).shape == (1, 4)
            await asyncio.sleep(20 * LONGEST_S)
            assert engine.ready

    with subprocess.Popen(["sleep", "600"]) as worker:
        run(main)
        assert worker.poll() is None
        worker.kill()


def test_a_worker_that_hangs_is_killed_and_what_it_held_is_answered(original: Path) -> None:
    with (
        running(model=original, cpu_threads=1, max_batch_tokens=128, batch_timeout_s=1) as service,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        bulk = pool.submit(service.embed, **LONGER_BULK)
        first_batch_done(service)
        (worker,) = service.workers()
        worker.suspend()
        single = pool.submit(service.embed, input="x")
        for lost in (bulk.result(), single.result()):
            assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")
        assert httpx.get(f"{service.url}/ready").status_code == 503
        assert httpx.get(f"{service.url}/live").status_code == 200
        service.log.wait_for("holds 2 requests and has said nothing for 1 s: it is killed")
        service.log.wait_for("serving +http", count=2)
        assert service.embed(input="x").status_code == 200
        assert service.metric("worker_restarts_total") == 1


def test_callers_with_little_patience_do_not_hide_a_worker_that_hangs(impatient: Service) -> None:
    """Each of them is gone before the worker may be called hung."""
    starts = impatient.log.count("serving +http")
    with impatient.suspended():
        statuses = [impatient.embed(input="x").status_code]
        while statuses[-1] == 504:
            statuses.append(impatient.embed(input="x").status_code)
        assert statuses[-1] == 503
        assert 2 <= statuses.count(504) <= 4
        impatient.log.wait_for("serving +http", count=starts + 1)
    assert impatient.embed(input="x").status_code == 200


def test_a_worker_that_hangs_does_not_hold_back_the_end() -> None:
    with running(batch_timeout_s=0.5) as service:
        (worker,) = service.workers()
        worker.suspend()
        assert service.stop(signal.SIGTERM) == 0
        assert not worker.is_running()
