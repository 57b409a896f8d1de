"""Files and jobs as the two APIs and the log write them. Pure functions."""

from collections.abc import Sequence
from typing import Any

import msgspec

from app.batches.records import Job, Status, StoredFile

_TIMES = (
    *("created_at", "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at"),
    *("expired_at", "cancelling_at", "cancelled_at"),
)
_OF_JINA: dict[Status, str] = {
    "validating": "submitted",
    "in_progress": "processing",
    "finalizing": "processing",
    "cancelling": "processing",
    "completed": "completed",
    "failed": "failed",
    "expired": "failed",
    "cancelled": "cancelled",
}


def file_object(file: StoredFile) -> dict[str, Any]:
    """A file in OpenAI's form."""
    shown: dict[str, Any] = msgspec.to_builtins(file)
    del shown["owner"]
    return {"object": "file", "status": "processed", **shown}


def batch_object(job: Job) -> dict[str, Any]:
    """A job in OpenAI's form."""
    progress, ended = job.progress, job.ended_at is not None
    faults = [
        {"code": each.code, "line": each.line, "message": each.message, "param": None}
        for each in job.faults
    ]
    return {
        "id": job.id,
        "object": "batch",
        "endpoint": job.endpoint,
        "errors": {"object": "list", "data": faults} if faults else None,
        "input_file_id": job.input_file_id,
        "completion_window": job.completion_window,
        "status": job.status,
        "output_file_id": job.output_file_id if ended and progress.output_bytes else None,
        "error_file_id": job.error_file_id if ended and progress.error_bytes else None,
        **{name: getattr(job, name) for name in _TIMES},
        "request_counts": {
            "total": job.total,
            "completed": progress.completed,
            "failed": progress.failed,
        },
        "metadata": job.metadata,
        "progress": {
            "requests_per_s": progress.lines_per_s,
            "tokens_per_s": progress.tokens_per_s,
            "tokens": progress.tokens,
            "seconds_left": job.seconds_left,
        },
    }


def list_object(shown: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """A page of them in OpenAI's form."""
    return {
        "object": "list",
        "data": list(shown),
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": more,
    }


def jina_batch(job: Job) -> dict[str, Any]:
    """A job in Jina's form."""
    address, progress = f"/v1/batch/{job.id}", job.progress
    why = job.faults[0].message if job.faults else None
    if job.status == "expired":
        why = f"it was not done within {job.completion_window}."
    return {
        "batch_id": job.id,
        "status": _OF_JINA[job.status],
        "stats": {
            "total": job.total,
            "completed": progress.completed,
            "failed": progress.failed,
            "total_tokens": progress.tokens,
        },
        "output_url": f"{address}/output",
        "errors_url": f"{address}/errors",
        "created_at": job.created_at,
        "completed_at": job.ended_at,
        "error": why,
    }


def said(job: Job) -> str:
    """A line of the log: how far a job is."""
    progress, left = job.progress, job.seconds_left
    parts = [f"{job.id} is {job.status}: {progress.lines} of {job.total} lines"]
    if progress.failed:
        parts.append(f"{progress.failed} of them in the error file")
    parts.append(f"{progress.lines_per_s:.1f} lines/s")
    parts.append(f"{progress.tokens_per_s:,.0f} tokens/s")
    if left is not None:
        parts.append(f"about {left} s left")
    return ", ".join(parts)
