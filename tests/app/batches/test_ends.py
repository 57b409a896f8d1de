"""A job that has ended stays as it is, whatever fails then; one that fails keeps its answers."""

import asyncio
import json
from pathlib import Path

from prometheus_client import CollectorRegistry

from app.batches.folder import open_shelf
from app.batches.jobs import NewJob
from app.batches.records import Job
from app.batches.sender import Answer
from app.batches.shown import batch_object
from app.settings import Settings
from tests.app.batches.asking import jsonl, line
from tests.app.batches.crashing import Echo, finish


def test_an_empty_file_that_cannot_be_deleted_changes_no_job_that_has_ended(
    tmp_path: Path,
) -> None:
    registry = CollectorRegistry()
    shelf = open_shelf(Settings(data_dir=str(tmp_path)), str(tmp_path), registry)
    upload = shelf.files.begin()
    upload.write(jsonl([line("c1", input="x")]))
    file = shelf.files.commit(upload, "", "in.jsonl")
    # The second one of an owner begins when the runner is through with the first one.
    job, behind = (shelf.jobs.create(file, NewJob("/v1/embeddings"), "") for _ in range(2))
    empty = shelf.store.path(job.error_file_id)

    def hinder(statement: str) -> None:
        """Put a folder in the file's place when the end of the job is being written."""
        if "UPDATE jobs SET status = 'completed'" in statement and job.id in statement:
            empty.unlink()
            empty.mkdir()

    shelf.store._connection.set_trace_callback(hinder)
    asyncio.run(finish(shelf))
    assert empty.is_dir()
    assert [shelf.jobs.get("", each.id).status for each in (job, behind)] == ["completed"] * 2
    ended = {
        outcome: registry.get_sample_value("quintet_batch_jobs_ended_total", {"outcome": outcome})
        for outcome in ("completed", "failed")
    }
    assert ended == {"completed": 2, "failed": 0}
    shelf.store.close()


class Broken(Echo):
    """Answers two requests, and then raises what no job expects."""

    async def send(self, job: Job, body: bytes, request_id: str) -> Answer:
        if request_id == f"{job.id}-4":
            raise ValueError("the third request")
        return await super().send(job, body, request_id)


def test_a_job_that_fails_on_its_way_lists_what_was_answered_before(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path), batch_job_inputs=1)
    shelf = open_shelf(settings, str(tmp_path), CollectorRegistry())
    upload = shelf.files.begin()
    upload.write(jsonl([line("c1", input="x"), "no json", *(line(f"c{n}") for n in (3, 4, 5))]))
    file = shelf.files.commit(upload, "", "in.jsonl")
    job = shelf.jobs.create(file, NewJob("/v1/embeddings"), "")
    asyncio.run(finish(shelf, Broken()))
    job = shelf.jobs.get("", job.id)
    assert (job.status, job.faults[0].code, job.progress.lines) == ("failed", "internal_error", 3)
    shown = batch_object(job)
    for name, expected in {"output_file_id": ["c1", "c3"], "error_file_id": [None]}.items():
        content = shelf.files.path(shelf.files.get("", shown[name])).read_bytes()
        assert [json.loads(each)["custom_id"] for each in content.splitlines()] == expected
    assert shelf.files.used_bytes() == sum(
        path.stat().st_size for path in (tmp_path / "files").iterdir()
    )
    shelf.store.close()
