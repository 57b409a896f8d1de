"""After answered, refused and cancelled requests nothing of them is left in the HTTP process."""

import asyncio
import gc
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from pydantic import BaseModel

from app.api.context import service_of
from app.application import create_app
from app.engine.client import WorkerLink
from app.engine.control import LinkWorker, StartWorker, WorkerStarted
from app.processes.server import Server
from app.settings import Settings
from app.sockets.address import bound_socket, listen
from tests.exchange import Connection, Request, get, post
from tests.waiting import wait_until_async
from tests.workers import WorkerProcess

# More than `bulk` has, and less than twice that.
QUEUE_TOKENS = 15_000


@asynccontextmanager
async def serving(model: Path, **more: float) -> AsyncIterator[str]:
    """The URL of a service in this process, but for its worker."""
    limits = {"max_tokens_per_minute": 10**6, "max_queue_tokens": QUEUE_TOKENS}
    limits |= {"max_connections": 50, "body_timeout_s": 0.2, "max_document_tokens": 8500, **more}
    settings = Settings(model=str(model), port=0, **limits)
    app = create_app(settings)
    server = Server(settings, app)
    worker = WorkerProcess(StartWorker(str(model), "cpu", "float32", None))
    assert isinstance(worker.started, WorkerStarted)
    streams = await asyncio.open_connection(sock=worker.connection())
    engine = service_of(app).engine
    link = WorkerLink(LinkWorker(0, worker.started), streams, engine)
    engine.add_link(link)
    collecting = asyncio.create_task(link.collect())
    with bound_socket(settings) as listener:
        listen(listener, settings)
        running = asyncio.create_task(server.serve([listener]))
        try:
            yield "http://{}:{}".format(*listener.getsockname())
        finally:
            server.should_exit = True
            await running
            worker.close()
            await collecting


async def status(url: str, request: Request) -> int:
    """An answer's status, over a connection of its own."""
    connection = await Connection.to(url)
    try:
        return (await connection.ask(request.wire)).status
    finally:
        connection.close()


async def answered(url: str) -> None:
    kinds = [post({"input": "a"}), post({"input": "a"}, path="/tokenize"), get("/info")]
    assert [await status(url, kind) for kind in kinds] == [200] * 3


def bulk() -> Request:
    """A thousand texts that were not sent before, some of them twice."""
    texts = [f"{secrets.token_hex(2)} that nobody waits for" for _ in range(1000)]
    return post({"input": texts + texts[:200]})


async def refused(url: str) -> None:
    slow = Request(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
    kinds = {
        post({"input": "a", "task": "no such task"}): 422,
        post({"input": ["a b c d e f g h"] * 2000}): 400,
        get("/nowhere"): 404,
        Request(b"no HTTP\r\n\r\n"): 400,
        slow: 408,
    }
    assert [await status(url, kind) for kind in kinds] == list(kinds.values())
    worker = the_worker()
    worker.suspend()  # so that the first one is in work when the second one comes
    first = asyncio.create_task(status(url, bulk()))
    await wait_until_async(lambda: tokens_in_work(url), "tokens in work")
    assert await status(url, bulk()) == 503
    worker.resume()
    assert await first == 200


async def too_long(url: str) -> None:
    """Refused when their tokens are counted, in a thread."""
    for request in (
        post({"input": "word " * 9000}),
        post({"input": ["word " * 100] * 100, "late_chunking": True}),
        post({"input": "word " * 9000}, path="/v1/documents"),
    ):
        assert await status(url, request) == 400


async def too_late(url: str) -> None:
    """Not computed within the time that they may take."""
    worker = the_worker()
    worker.suspend()
    try:
        assert await status(url, bulk()) == 504
    finally:
        worker.resume()
    await wait_until_async(lambda: is_idle(url), "an empty queue")


async def is_idle(url: str) -> bool:
    return await tokens_in_work(url) == 0


def the_worker() -> psutil.Process:
    (worker,) = (
        child
        for child in psutil.Process().children()
        if "app.engine.worker" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE
    )
    return worker


async def tokens_in_work(url: str) -> float:
    connection = await Connection.to(url)
    try:
        text = (await connection.ask(get("/metrics").wire)).body.decode()
    finally:
        connection.close()
    found = re.findall(r"^quintet_queue_tokens{.*} (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


async def cancelled(url: str) -> None:
    """Hung up with half of the body sent, with all of it, and while batches of it are computed."""
    parts = urlsplit(url)
    for missing, seconds in ((9, 0), (0, 0), (0, 0.02), (0, 0.05)):
        wire = bulk().wire
        for _ in range(2):  # the second one joins the first one's rows
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(wire[: len(wire) - missing])
            await writer.drain()
            await asyncio.sleep(seconds)  # any moment will do
            writer.close()
            await writer.wait_closed()


async def left_beside(before: set[asyncio.Task[object]]) -> set[asyncio.Task[object]]:
    """Tasks that are newer and do not end."""
    if newer := asyncio.all_tasks() - before:
        await asyncio.wait(newer, timeout=10)
    return asyncio.all_tasks() - before


@pytest.mark.parametrize("kind", [answered, refused, cancelled])
def test_no_task_outlives_its_request(
    original: Path, kind: Callable[[str], Awaitable[None]]
) -> None:
    async def ask() -> None:
        async with serving(original) as url:
            await answered(url)  # with what is made once, on the first request
            before = asyncio.all_tasks()
            for _ in range(5):
                await kind(url)
            assert await left_beside(before) == set()
            # Nor does its part of the queue.
            assert await status(url, bulk()) == 200

    asyncio.run(ask())


@pytest.mark.parametrize("kind", [answered, refused, cancelled, too_long, too_late])
def test_no_request_waits_for_the_garbage_collector(
    original: Path, kind: Callable[[str], Awaitable[None]]
) -> None:
    """An exception whose traceback leads to itself keeps the request that it refused, megabytes
    maybe, until the collector comes."""

    async def ask() -> list[object]:
        limits = {"request_timeout_s": 0.5} if kind is too_late else {}
        async with serving(original, **limits) as url:
            await kind(url)
            gc.collect()
            gc.disable()
            await kind(url)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            return [each for each in gc.garbage if isinstance(each, BaseException | BaseModel)]

    try:
        assert asyncio.run(ask()) == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
