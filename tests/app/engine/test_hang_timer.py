"""A worker that hangs: its silence is timed on a loop whose clock jumps, and it is killed."""

import asyncio
import concurrent.futures
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvloop
from app.engine.queues import Queues
from app.engine.silence import Silence
from hypothesis import given
from hypothesis import strategies as st

from app.engine import messages
from app.engine.client import EngineClient, Limits, Link, Peer
from app.errors import WorkerLostError
from app.telemetry.metrics import Metrics
from model.rows import Row
from tests.app.engine.test_promises import LONGER_BULK, first_batch_done
from tests.server import Service, running

LONGEST_S = 10
# With the last look.
OVER_S = LONGEST_S + 1


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


EVENTS = st.tuples(st.sampled_from(["begin", "pause", "broken"]), st.integers(0, 12))


@given(st.lists(EVENTS, max_size=30))
def test_it_is_over_when_jobs_were_held_for_the_longest_time_without_a_word(
    events: list[tuple[str, int]],
) -> None:
    async def main() -> None:
        loop, calls = asyncio.get_running_loop(), []
        silence = Silence(LONGEST_S, lambda: calls.append(loop.time()))
        held, silent, due = False, 0, []
        for event, seconds in events:
            getattr(silence, event)()
            held = {"begin": True, "pause": False, "broken": held}[event]
            silent = 0 if event == "broken" else silent
            if held and not due and silent + seconds >= OVER_S:
                due = [loop.time() + OVER_S - silent]
            silent += seconds if held else 0
            await asyncio.sleep(seconds + 1e-9)
            if due:
                break
        assert calls == pytest.approx(due, abs=1e-6)

    run(main)


def test_it_has_a_timer_only_while_jobs_are_held() -> None:
    async def main() -> None:
        silence = Silence(LONGEST_S, lambda: None)
        assert not timers()
        silence.begin()
        assert len(timers()) == 1
        silence.broken()
        assert len(timers()) == 1
        silence.pause()
        silence.broken()
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
        silence = Silence(1e-4, over.set)
        for _ in range(2):
            silence.begin()
            silence.pause()
        silence.begin()
        silence.broken()
        await asyncio.wait_for(over.wait(), OVER_S)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_a_word_that_came_while_this_process_stood_still_is_heard_first() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        loop, calls = asyncio.get_running_loop(), []
        assert isinstance(loop, JumpingLoop)
        reader, writer = await asyncio.open_connection(sock=ours)
        silence = Silence(LONGEST_S, lambda: calls.append("over"))

        async def listen() -> None:
            while await reader.read(1):
                silence.broken()

        listening = asyncio.create_task(listen())
        silence.begin()
        await asyncio.sleep(1)
        theirs.sendall(b"x")
        loop.now += 100  # the process is stopped, or swapped out
        await asyncio.sleep(LONGEST_S - 1)
        assert not calls
        theirs.close()
        await listening
        silence.pause()
        writer.close()

    run(main)


def test_the_jobs_of_a_worker_that_cannot_even_be_killed_are_answered() -> None:
    """Its end of the stream stays open, as that of a process does which a driver holds."""

    ours, theirs = socket.socketpair()

    async def main(process: int) -> None:
        reader, writer = await asyncio.open_connection(sock=ours)
        metrics = Metrics("0", "a model", ())
        engine = EngineClient(Limits(100, 600, 0.05), 4, Queues(1), metrics)
        started = messages.Started("a device", "float32", "none", 0, 100, 0.0, process)
        link = Link(Peer(0, started, reader, writer), engine)
        engine.attach(link)
        collecting = asyncio.create_task(link.collect())
        with pytest.raises(WorkerLostError) as lost:
            await engine.embed([Row.single_span(np.arange(3, dtype=np.int32), None)])
        assert lost.value.retry_after_s == 1
        await collecting

    with theirs, subprocess.Popen(["sleep", "600"]) as worker:
        asyncio.run(main(worker.pid))
        assert worker.wait(30) == -9


def test_a_worker_that_hangs_is_killed_and_what_it_held_is_answered(original: Path) -> None:
    with (
        running(model=original, cpu_threads=1, max_batch_tokens=128, batch_timeout_s=2) as service,
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
        service.log.wait_for("holds 2 requests and has said nothing for 2 s: it is killed")
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


def test_a_slow_worker_is_not_killed_nor_an_idle_one_and_one_that_hangs_does_not_hold_back_the_end(
    original: Path,
) -> None:
    """The slow one's batches come in time, its answers much later."""
    longest_s = 0.5
    enough_s = 2 * (longest_s + 1)  # with the last look, twice
    with running(
        model=original, cpu_threads=1, max_batch_tokens=64, batch_timeout_s=longest_s
    ) as service:
        took_s, texts = 0.0, 20
        while took_s <= enough_s:  # as many texts as this machine needs so long for
            texts = min(2048, int(texts * max(2, 1.5 * enough_s / max(took_s, 0.1))))
            began = time.monotonic()
            answer = service.embed(input=[f"{number} " + "word " * 300 for number in range(texts)])
            assert answer.status_code == 200
            took_s = time.monotonic() - began
            assert took_s > enough_s or texts < 2048, "too quick to tell"
        assert service.metric("worker_restarts_total") == 0
        time.sleep(enough_s)
        assert service.metric("workers_ready") == 1
        assert service.embed(input="x").status_code == 200
        assert service.metric("worker_restarts_total") == 0
        (worker,) = service.workers()
        worker.suspend()
        assert service.stop(signal.SIGTERM) == 0
        assert not worker.is_running()
