"""A job that has ended stays as it is, whatever fails after that."""

import asyncio
from pathlib import Path

from prometheus_client import CollectorRegistry

from app.batches.folder import open_shelf
from app.batches.jobs import NewJob
from app.settings import Settings
from tests.app.batches.asking import jsonl, line
from tests.app.batches.crashing import finish


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
