"""The bytes of all files, those that jobs are writing too, are counted, and bounded."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from app.batches import job_run
from app.batches.folder import Shelf, open_shelf
from app.batches.records import Job, Progress
from app.errors import StorageError
from app.settings import Settings, SettingsError
from tests.app.batches.asking import jsonl, line
from tests.app.batches.crashing import Echo, submitted, working
from tests.waiting import wait_until_async

LINES = 200
CONTENT = jsonl(["no json", *(line(f"c{n}", input="x" * 50) for n in range(1, LINES))])


def opened(folder: Path, max_bytes: int, registry: CollectorRegistry | None = None) -> Shelf:
    settings = Settings(data_dir=str(folder), max_data_bytes=max_bytes, batch_job_inputs=8)
    return open_shelf(settings, str(folder), registry or CollectorRegistry())


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def shelf(tmp_path: Path, registry: CollectorRegistry) -> Iterator[Shelf]:
    shelf = opened(tmp_path, 4 * len(CONTENT), registry)
    yield shelf
    shelf.store.close()


class Counted(Echo):
    """Counts the requests that it answers."""

    sent = 0

    async def send(self, *given: object) -> object:
        self.sent += 1
        return await super().send(*given)


class Few(Echo):
    """Answers so many requests, and no other one."""

    def __init__(self, number: int) -> None:
        self.left = number

    async def send(self, *given: object) -> object:
        self.left -= 1
        if self.left < 0:
            await asyncio.Future()
        return await super().send(*given)


def on_disk(shelf: Shelf) -> int:
    return sum(path.stat().st_size for path in (shelf.store.folder / "files").iterdir())


def recorded(shelf: Shelf) -> int:
    """The obvious sum, over every record that there is."""
    files = sum(row["bytes"] for row in shelf.store.rows("SELECT bytes FROM files"))
    jobs = [job.progress for job in shelf.jobs.unfinished()]
    return files + sum(each.output_bytes + each.error_bytes for each in jobs)


def test_what_jobs_have_written_counts_before_and_after_they_end(tmp_path: Path) -> None:
    shelf = opened(tmp_path, 1 << 30)

    async def work() -> None:
        jobs = [submitted(shelf, CONTENT, owner) for owner in ("one", "other")]

        async def some() -> bool:
            return all(shelf.jobs.get(job.owner, job.id).progress.lines > 20 for job in jobs)

        async with working(shelf, Few(LINES)):
            await wait_until_async(some, "some answers of both jobs")
        assert shelf.files.used_bytes() == recorded(shelf) > 2 * len(CONTENT) + 40 * 100
        async with working(shelf, Echo()):
            await wait_until_async(lambda: done(shelf), "the end of both jobs")

    asyncio.run(work())
    assert shelf.files.used_bytes() == recorded(shelf) == on_disk(shelf)
    for owner in ("one", "other"):
        for file in shelf.files.owned(owner):
            shelf.files.delete(owner, file.id)
    assert shelf.files.used_bytes() == on_disk(shelf) == 0


async def done(shelf: Shelf) -> bool:
    return not shelf.jobs.unfinished()


def test_a_job_waits_at_the_bound_and_ends_when_there_is_room(
    shelf: Shelf, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line is sent once, however often what it was answered does not fit."""
    monkeypatch.setattr(job_run, "STORAGE_S", 0.01)
    sender = Counted()
    limit = shelf.settings.max_data_bytes

    def said(series: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"quintet_{series}", labels)

    async def work() -> None:
        upload = shelf.files.begin()
        upload.write(b"x" * (2 * len(CONTENT)))
        large = shelf.files.commit(upload, "", "large")
        job = submitted(shelf, CONTENT)

        async def waits() -> bool:
            assert on_disk(shelf) <= limit
            return bool(shelf.jobs.get("", job.id).faults)

        async def is_shown() -> bool:
            return said("batch_jobs", state="waiting") == 1

        async with working(shelf, sender):
            await wait_until_async(waits, "a job that waits")
            await wait_until_async(is_shown, "it in the metrics")
            stopped = shelf.jobs.get("", job.id)
            check(stopped)
            shelf.files.delete("", large.id)
            await wait_until_async(lambda: done(shelf), "its end")
        assert sender.sent == LINES - 1
        assert shelf.jobs.get("", job.id).progress.completed == LINES - 1
        assert shelf.files.used_bytes() == on_disk(shelf) <= limit

    def check(stopped: Job) -> None:
        assert stopped.faults[0].code == "storage_full"
        assert f"EMBED_MAX_DATA_BYTES={limit}" in stopped.faults[0].message
        assert 0 < stopped.progress.lines < LINES
        assert said("batch_job_lines_waiting") == LINES - stopped.progress.lines
        assert said("data_bytes") == shelf.files.used_bytes()
        assert said("data_bytes_limit") == limit
        assert limit * 0.9 < shelf.files.used_bytes() == on_disk(shelf) <= limit
        with pytest.raises(StorageError):
            shelf.files.check_room(limit - on_disk(shelf) + 1)
        shelf.files.check_room(limit - on_disk(shelf))

    asyncio.run(work())


def test_what_is_written_is_waited_for_however_often_the_job_is_cancelled() -> None:
    may_end, ended = threading.Event(), False

    def write() -> None:
        nonlocal ended
        may_end.wait()
        ended = True

    async def work() -> None:
        writing = asyncio.create_task(job_run._in_thread(write))
        for _ in range(3):
            await asyncio.sleep(0)
            writing.cancel()
        early, _ = await asyncio.wait({writing}, timeout=0.05)
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert ended
        assert not early

    asyncio.run(work())


def test_a_folder_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    shelf = opened(tmp_path, 1 << 30)
    job = submitted(shelf, CONTENT)
    shelf.store.close()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
        connection.execute("DROP INDEX jobs_by_bytes")
        connection.execute("ALTER TABLE jobs DROP COLUMN bytes")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    shelf = opened(tmp_path, 1 << 30)
    assert shelf.jobs.get("", job.id) == job
    progress = Progress(lines=1, output_bytes=300, error_bytes=7)
    shelf.jobs.change(job.id, lambda job: msgspec.structs.replace(job, progress=progress))
    assert shelf.files.used_bytes() == len(CONTENT) + 307
    with shelf.store.transaction() as connection:
        connection.execute("PRAGMA user_version = 3")
    shelf.store.close()
    with pytest.raises(SettingsError, match="another version"):
        opened(tmp_path, 1 << 30)
