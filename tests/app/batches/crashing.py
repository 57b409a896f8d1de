"""A process whose children work on a batch job, and are killed at every moment that matters.

    python -m tests.app.batches.crashing FOLDER [unprotected]

For N = 1, 2, ... a child of its own works on a new job in FOLDER/N and kills itself (SIGKILL) at
the Nth step that touches the disk: in the middle of a write, before an fsync, a truncation or a
commit. Then another child finishes the job, or cancels it and finishes that. It ends when a child
took fewer steps, and prints a line of JSON for each N. `unprotected` takes the protection away:
answers are appended to whatever is there.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from app.batches.folder import Shelf, open_shelf
from app.batches.jobs import NewJob
from app.batches.records import Job
from app.batches.runner import Runner
from app.batches.sender import Answer, Sender
from app.settings import Settings
from tests.waiting import wait_until_async

LINES = 11
BAD_LINE = 4


class Echo:
    """Answers each request with itself, the later ones sooner."""

    async def send(self, _: Job, body: bytes, request_id: str) -> Answer:
        number = int(request_id.rpartition("-")[2])
        for _ in range(LINES - number):
            await asyncio.sleep(0)
        echoed = {"usage": {"total_tokens": number}, "echo": orjson.loads(body)}
        return Answer(200, orjson.dumps(echoed), {})


def submitted(shelf: Shelf, content: bytes, owner: str = "") -> Job:
    """A new job for a file of that content."""
    upload = shelf.files.begin()
    upload.write(content)
    file = shelf.files.commit(upload, owner, "in.jsonl")
    return shelf.jobs.create(file, NewJob("/v1/embeddings"), "")


def content() -> bytes:
    lines = [
        {
            "custom_id": f"c{n}",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"input": "x" * n},
        }
        for n in range(1, LINES + 1)
    ]
    lines[BAD_LINE - 1]["method"] = "GET"
    return b"\n".join(map(orjson.dumps, lines))


def shelf(folder: Path) -> Shelf:
    settings = Settings(data_dir=str(folder), batch_job_inputs=3)
    return open_shelf(settings, str(folder), CollectorRegistry())


@asynccontextmanager
async def working(shelf: Shelf, sender: Sender) -> AsyncIterator[None]:
    """A runner works on the jobs; what is under way at the end is given up."""
    runner = Runner(shelf, sender)
    task = asyncio.create_task(runner.run())
    try:
        yield
    finally:
        for _, running in runner._running.values():
            running.cancel()
        runner.stop()
        await task


async def finish(shelf: Shelf, sender: Sender | None = None) -> None:
    """Work until there is nothing to do."""
    runner = Runner(shelf, sender or Echo())
    running = asyncio.create_task(runner.run())

    async def is_done() -> bool:
        return not shelf.jobs.unfinished()

    await wait_until_async(is_done, "the end of the job")
    runner.stop()
    await running


def make(folder: Path) -> None:
    job = submitted(shelf(folder), content())
    (folder / "job").write_text(job.id)


def crash_at(number: int, shelf: Shelf) -> None:
    """Kill this process at its step of that number."""
    steps = 0

    def step() -> bool:
        nonlocal steps
        steps += 1
        return steps == number

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    write = os.pwrite

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        if step():
            write(descriptor, bytes(data)[: len(data) // 2], offset)
            die()
        return write(descriptor, data, offset)

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            if step():
                die()
            return function(*arguments)

        return called

    os.pwrite = pwrite
    os.fsync, os.ftruncate = before(os.fsync), before(os.ftruncate)
    shelf.store._connection.set_trace_callback(
        lambda statement: die() if statement == "COMMIT" and step() else None
    )


def unprotect() -> None:
    write = os.pwrite

    def append(descriptor: int, data: Any, offset: int) -> int:
        return write(descriptor, data, os.lseek(descriptor, 0, os.SEEK_END))

    os.pwrite, os.ftruncate = append, lambda *_: None


def in_child(work: Callable[[], None]) -> int:
    """The exit status of a child that does that, negative for a signal."""
    process = os.fork()
    if not process:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def crash(folder: Path, number: int) -> None:
    there = shelf(folder)
    crash_at(number, there)
    asyncio.run(finish(there))


def go_on(folder: Path, *, cancel: bool) -> None:
    there = shelf(folder)
    if cancel:
        there.jobs.cancel("", (folder / "job").read_text())
    asyncio.run(finish(there))


def told(folder: Path) -> dict[str, Any]:
    there = shelf(folder)
    job = there.jobs.get("", (folder / "job").read_text())
    name = job.id.removeprefix("batch_")
    files = {}
    for file in there.files.written(job):
        files[file.id.rpartition("-")[2]] = there.files.path(file).read_text().replace(name, "ID")
    listed = len(there.files.owned("")) - 1
    there.store.close()
    return {"status": job.status, "files": files, "listed": listed}


def swept(folder: Path, number: int, *, cancel: bool) -> bool:
    """Print what a crash at that step leads to; true if there is no such step."""
    in_child(lambda: make(folder))
    crashed = in_child(lambda: crash(folder, number))
    if crashed == 0:
        print(json.dumps({"whole": told(folder)}))
        return True
    assert crashed == -signal.SIGKILL, crashed
    ended = in_child(lambda: go_on(folder, cancel=cancel))
    print(json.dumps({"number": number, "cancel": cancel, "end": ended, **told(folder)}))
    return False


def main() -> None:
    root = Path(sys.argv[1])
    if "unprotected" in sys.argv:
        unprotect()
    for number in range(1, 1000):
        for cancel in (False, True):
            if swept(root / f"{number}-{cancel}", number, cancel=cancel):
                return


if __name__ == "__main__":
    main()
