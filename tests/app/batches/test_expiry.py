"""A job whose completion window is over ends with what it has; the rest is said to have expired."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import orjson
import pytest
from prometheus_client import CollectorRegistry

from app.access.callers import callers_of
from app.batches.folder import Shelf, open_shelf
from app.batches.records import Job, now
from app.batches.runner import Runner
from app.batches.sender import UrlSender
from app.settings import Settings
from app.telemetry.metrics import Metrics
from tests.app.batches.asking import jsonl, line
from tests.app.batches.crashing import submitted
from tests.server import Service
from tests.waiting import wait_until_async

LINES = 200


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def shelf(tmp_path: Path, registry: CollectorRegistry) -> Shelf:
    settings = Settings(data_dir=str(tmp_path), batch_job_inputs=8)
    return open_shelf(settings, str(tmp_path), registry)


@asynccontextmanager
async def working(shelf: Shelf, service: Service) -> AsyncIterator[None]:
    """A runner whose lines a real service answers."""
    async with httpx.AsyncClient(base_url=service.url, timeout=120) as http:
        metrics = Metrics("0", "batches")
        callers = callers_of(shelf.settings, metrics)
        runner = Runner(shelf, UrlSender(http, callers, metrics))
        task = asyncio.create_task(runner.run())
        try:
            yield
        finally:
            runner.stop()
            await task


def requests() -> bytes:
    """The last line is none."""
    lines = [line(f"c{n}", input=f"{n} is a text", dimensions=16) for n in range(LINES - 1)]
    return jsonl([*lines, "no json at all"])


def close_window(shelf: Shelf, job: Job) -> None:
    """As if the job had been made that long ago."""
    at = now()
    shelf.jobs.change(
        job.id,
        lambda job: msgspec.structs.replace(job, created_at=at - job.window_s, expires_at=at),
    )


async def begun(shelf: Shelf, job: Job) -> None:
    async def is_answering() -> bool:
        return shelf.jobs.get("", job.id).progress.completed > 20

    await wait_until_async(is_answering, "some answers")


async def ended(shelf: Shelf, job: Job) -> Job:
    async def end() -> Job | None:
        found = shelf.jobs.get("", job.id)
        return None if found.unfinished else found

    found = await wait_until_async(end, f"the end of {job.id}")
    assert found
    return found


def lines_in(shelf: Shelf, file_id: str) -> list[Any]:
    """None where there is no such file."""
    path = shelf.store.path(file_id)
    return [orjson.loads(each) for each in path.read_bytes().splitlines()] if path.exists() else []


def check(shelf: Shelf, job: Job) -> int:
    """Each line is in one of the two files, once and in order; how many were answered."""
    assert job.status == "expired"
    assert job.expired_at
    assert job.expired_at >= job.expires_at
    output, errors = (lines_in(shelf, each) for each in (job.output_file_id, job.error_file_id))
    done = len(output)
    assert [each["custom_id"] for each in output] == [f"c{n}" for n in range(done)]
    assert all(len(each["response"]["body"]["data"][0]["embedding"]) == 16 for each in output)
    assert [each["line"] for each in errors] == [*range(done + 1, LINES + 1)]
    assert [each["custom_id"] for each in errors[:-1]] == [f"c{n}" for n in range(done, LINES - 1)]
    assert all(each["response"] is None for each in errors)
    assert {each["error"]["code"] for each in errors[:-1]} == {"batch_expired"}
    assert errors[-1]["error"]["code"] == "invalid_json_line", "it was never a request"
    progress = job.progress
    assert (job.total, progress.completed, progress.failed) == (LINES, done, LINES - done)
    listed = {file.id for file in shelf.files.owned("") if file.purpose == "batch_output"}
    assert listed == {file.id for file in shelf.files.written(job)}
    return done


def test_a_job_expires_while_its_lines_are_under_way(shelf: Shelf, engine: Service) -> None:
    async def work() -> Job:
        job = submitted(shelf, requests())
        async with working(shelf, engine):
            await begun(shelf, job)
            with engine.suspended():  # lines are sent, and nobody answers them in time
                close_window(shelf, job)
                return await ended(shelf, job)

    assert 20 < check(shelf, asyncio.run(work())) < LINES - 1


def test_a_job_expires_while_nobody_works_on_it(
    shelf: Shelf, registry: CollectorRegistry, engine: Service
) -> None:
    async def work() -> Job:
        job = submitted(shelf, requests())
        async with working(shelf, engine):
            await begun(shelf, job)
        close_window(shelf, job)
        async with working(shelf, engine):
            return await ended(shelf, job)

    done = check(shelf, asyncio.run(work()))
    assert 20 < done < LINES - 1
    for series, outcome, value in (
        ("jobs_ended", "expired", 1),
        ("jobs_ended", "completed", 0),
        ("job_lines", "completed", done),
        ("job_lines", "failed", LINES - done),
    ):
        labels = {"outcome": outcome}
        assert registry.get_sample_value(f"quintet_batch_{series}_total", labels) == value


def test_a_job_expires_before_it_has_begun(shelf: Shelf, engine: Service) -> None:
    """It waited behind another job of its owner: its lines are in the error file all the same."""

    async def work(content: bytes) -> Job:
        job = submitted(shelf, content)
        close_window(shelf, job)
        async with working(shelf, engine):
            return await ended(shelf, job)

    assert check(shelf, asyncio.run(work(requests()))) == 0
    assert asyncio.run(work(b"no request")).status == "failed"
