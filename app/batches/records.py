"""A file and a batch job, as they are stored, and how a job's status changes. Pure functions.

validating -> in_progress -> finalizing -> completed
validating -> failed                             no line of the file is a request
validating, in_progress -> cancelling -> cancelled
validating, in_progress -> expired               the completion window is over
"""

import time
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

DAY_S = 86_400

Status = Literal[
    "validating",
    "in_progress",
    "finalizing",
    "completed",
    "failed",
    "cancelling",
    "cancelled",
    "expired",
]
# What a runner still has to do something for.
UNFINISHED: tuple[Status, ...] = ("validating", "in_progress", "finalizing", "cancelling")
_CANCELLABLE: tuple[Status, ...] = ("validating", "in_progress")


class StoredFile(msgspec.Struct, frozen=True):
    """A file that a caller uploaded, or that a job wrote; `owner` is the name of a key, or empty
    where the service has none."""

    id: str
    owner: str
    filename: str
    bytes: int
    created_at: int
    expires_at: int
    purpose: str = "batch"


class Fault(msgspec.Struct, frozen=True):
    """Why a job failed, or waits; `line` is one of its file."""

    code: str
    message: str
    line: int | None = None


class Progress(msgspec.Struct, frozen=True):
    """How far a job has come.

    Of its input `lines` are done, in order. Of their answers `output_bytes` and `error_bytes` stand
    in its two files; what is behind those is not there, whatever a crash has left.
    """

    lines: int = 0
    completed: int = 0
    failed: int = 0
    tokens: int = 0
    output_bytes: int = 0
    error_bytes: int = 0
    lines_per_s: float = 0.0
    tokens_per_s: float = 0.0


class Job(msgspec.Struct, frozen=True):
    """A batch job. With a `template`, which has the other fields of each request, a line of its
    file is an input alone, `{"input": "..."}`. `address` is where it was made from, whose limits it
    counts for where the service has no keys. Times are seconds since 1970."""

    id: str
    owner: str
    address: str
    endpoint: str
    input_file_id: str
    output_file_id: str
    error_file_id: str
    window_s: int
    completion_window: str
    created_at: int
    expires_at: int
    metadata: dict[str, str] | None = None
    template: dict[str, Any] | None = None
    status: Status = "validating"
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    total: int = 0
    faults: tuple[Fault, ...] = ()
    progress: Progress = Progress()

    @property
    def unfinished(self) -> bool:
        """Whether a runner still has to do something for it."""
        return self.status in UNFINISHED

    @property
    def unlisted_bytes(self) -> int:
        """Bytes of its two files, which are listed when it ends."""
        progress = self.progress
        return progress.output_bytes + progress.error_bytes if self.unfinished else 0

    @property
    def ended_at(self) -> int | None:
        """When it ended."""
        return self.completed_at or self.failed_at or self.expired_at or self.cancelled_at

    @property
    def seconds_left(self) -> int | None:
        """How long it will take, if it goes on as in the last minute."""
        rate = self.progress.lines_per_s
        if self.status != "in_progress" or not rate:
            return None
        return round((self.total - self.progress.lines) / rate)


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())


def begun(job: Job, total: int, at: int) -> Job:
    """A validated job of so many lines."""
    return replace(job, status="in_progress", total=total, in_progress_at=at, faults=())


def failed(job: Job, faults: tuple[Fault, ...], at: int) -> Job:
    """A job that cannot be worked on."""
    return replace(job, status="failed", failed_at=at, faults=faults)


def advanced(job: Job, before: Progress, after: Progress) -> Job | None:
    """The job with more done; None if it was cancelled, or is not where the runner left it."""
    if job.status != "in_progress" or job.progress != before:
        return None
    return replace(job, progress=after, faults=())


def waiting(job: Job, fault: Fault) -> Job:
    """The job with what it waits for."""
    return replace(job, faults=(fault,))


def cancelling(job: Job, at: int) -> Job | None:
    """The job that a caller cancels; None if it is too late for that."""
    if job.status not in _CANCELLABLE:
        return job if job.status in ("cancelling", "cancelled") else None
    return replace(job, status="cancelling", cancelling_at=at)


def expired(job: Job, at: int) -> bool:
    """Whether the window of a job is over."""
    return job.status in _CANCELLABLE and at >= job.expires_at


def ended(job: Job, status: Status, at: int) -> Job:
    """The job at its end."""
    changes: dict[str, Any] = {"status": status, f"{status}_at": at, "faults": ()}
    return replace(job, **changes)
