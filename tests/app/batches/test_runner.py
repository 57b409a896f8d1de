"""The runner of batch jobs goes on, whatever it finds; jobs stay as long as the settings say."""

import asyncio
import logging
from pathlib import Path

import msgspec
import pytest

from app.batches.folder import Shelf
from app.batches.records import DAY_S, Job, Progress, ended, now
from app.batches.runner import MOST_JOBS
from app.batches.sender import Answer
from app.errors import NotFoundError
from tests.app.batches import crashing
from tests.app.batches.asking import jsonl, line
from tests.app.batches.crashing import Echo, shelf, submitted, working
from tests.waiting import wait_until_async

LINE = jsonl([line("c1", input="x")])


async def said(caplog: pytest.LogCaptureFixture, sentence: str) -> None:
    async def found() -> bool:
        return sentence in caplog.text

    await wait_until_async(found, sentence)


async def completed(shelf: Shelf, job: Job) -> None:
    async def end() -> bool:
        return shelf.jobs.get("", job.id).status == "completed"

    await wait_until_async(end, "the end of the job")


def test_a_lock_that_cannot_be_opened_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there, lock = shelf(tmp_path), tmp_path / "runner.lock"
    lock.mkdir()

    async def work() -> None:
        job = submitted(there, LINE)
        async with working(there, Echo()):
            await said(caplog, f"{lock} cannot be locked: Is a directory.")
            lock.rmdir()
            await completed(there, job)

    asyncio.run(work())
    there.store.close()


def test_what_nobody_foresaw_is_told_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = shelf(tmp_path)

    async def work() -> None:
        damaged, job = submitted(there, LINE), submitted(there, LINE)
        there.store.rows("UPDATE jobs SET record = '{' WHERE id = ?", damaged.id)
        async with working(there, Echo()):
            await said(caplog, "batch jobs cannot be looked after: DecodeError")
            there.store.rows("DELETE FROM jobs WHERE id = ?", damaged.id)
            await completed(there, job)

    asyncio.run(work())
    told = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [bool(each.exc_info) for each in told] == [True]
    there.store.close()


@pytest.mark.parametrize("status", ["in_progress", "finalizing", "cancelling", "expired"])
def test_a_job_whose_output_is_damaged_fails_with_what_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: str
) -> None:
    there = shelf(tmp_path)
    kept, lost = b'{"custom_id": "c1"}\n', b'{"custom_id": "c2"}\n'

    async def work() -> None:
        job, behind = submitted(there, LINE), submitted(there, LINE)
        at = now()
        written = Progress(lines=2, completed=2, output_bytes=len(kept + lost))
        there.jobs.change(
            job.id,
            lambda job: msgspec.structs.replace(
                job,
                status="in_progress" if status == "expired" else status,
                expires_at=at - 1 if status == "expired" else at + DAY_S,
                total=3,
                progress=written,
            ),
        )
        there.store.path(job.output_file_id).write_bytes(kept + lost[:5])
        async with working(there, Echo()):
            await completed(there, behind)
        failed = there.jobs.get("", job.id)
        assert (failed.status, failed.faults[0].code) == ("failed", "output_damaged")
        assert f"damaged: {len(kept) + 5} of {len(kept + lost)} bytes" in failed.faults[0].message
        (listed,) = [each for each in there.files.owned("") if each.id == job.output_file_id]
        assert there.files.content(listed).read_bytes() == kept

    asyncio.run(work())
    assert "Traceback" not in caplog.text
    there.store.close()


def test_a_job_stays_for_its_days_after_its_end(tmp_path: Path) -> None:
    there = crashing.shelf(tmp_path)
    days, at = there.settings.data_days, now()

    def stays(seconds: float) -> bool:
        """Whether a job does that ended so long ago and was made long before."""
        job, made = submitted(there, LINE), at - int(100 * days * DAY_S)
        there.store.rows("UPDATE jobs SET created_at = ? WHERE id = ?", made, job.id)
        there.jobs.change(
            job.id,
            lambda job: ended(
                msgspec.structs.replace(job, created_at=made), "completed", at - int(seconds)
            ),
        )
        there.jobs.sweep()
        try:
            return there.jobs.get("", job.id).status == "completed"
        except NotFoundError:
            return False

    assert stays(days * DAY_S - 600)
    assert not stays(days * DAY_S + 600)
    there.store.close()


class Silent(Echo):
    """Answers nothing."""

    async def send(self, *_: object) -> Answer:
        await asyncio.Future()
        raise AssertionError("a future that nobody sets")


def test_a_job_that_is_cancelled_ends_however_many_are_worked_on(tmp_path: Path) -> None:
    there = shelf(tmp_path)

    async def work() -> None:
        before = [submitted(there, LINE, f"owner {n}") for n in range(MOST_JOBS)]
        behind = submitted(there, LINE, "one more")

        async def are_worked_on() -> bool:
            jobs = [there.jobs.get(job.owner, job.id) for job in before]
            return all(job.status == "in_progress" for job in jobs)

        async def is_cancelled() -> bool:
            return there.jobs.get(behind.owner, behind.id).status == "cancelled"

        async with working(there, Silent()):
            await wait_until_async(are_worked_on, "as many jobs as may be")
            assert there.jobs.get(behind.owner, behind.id).status == "validating"
            there.jobs.cancel(behind.owner, behind.id)
            await wait_until_async(is_cancelled, "the end of the job")

    asyncio.run(work())
    there.store.close()
