"""The two files that a job writes: answers, and what was refused or could not be read.

Promise: each answer is written once. It counts when the job's progress, which has the bytes of both
files, is committed; that is after they are on the disk. What a crash left behind those bytes is cut
off when the files are opened again, and those lines are sent again.
"""

import mmap
import os
from pathlib import Path
from typing import Any

import msgspec
import orjson

from app.batches.input_lines import Line
from app.batches.records import Job, Progress
from app.batches.sender import Answer
from app.batches.store import Store, sync_folder, writing
from app.errors import SPACE_HEADER

# Headers of an answer that say something of its vectors, and where a line has them.
_KEPT = {
    SPACE_HEADER: "embedding_space",
    "x-truncated-inputs": "truncated_inputs",
    "x-ignored-fields": "ignored_fields",
}
_EXPIRED = "this request was not answered before the completion window was over."


class DamagedOutputError(Exception):
    """Of what a job has written, some is not there any more."""


class JobOutput:
    """The open files of one job."""

    def __init__(self, store: Store, job: Job) -> None:
        """Open them where the job's progress ends.

        Raises:
            StorageError: they cannot be opened.
            DamagedOutputError: they are shorter than that.
        """
        self._files: list[_Appended] = []
        progress = job.progress
        try:
            for file_id, size in (
                (job.output_file_id, progress.output_bytes),
                (job.error_file_id, progress.error_bytes),
            ):
                self._files.append(_Appended(store.path(file_id), size))
            with writing():
                sync_folder(store.path(job.output_file_id).parent)
        except BaseException:
            self.close()
            raise

    def write(self, progress: Progress, output: bytes, errors: bytes) -> tuple[int, int]:
        """Write them to the disk behind that progress; the bytes of both files then.

        Raises:
            StorageError: they do not fit.
        """
        answers, faults = self._files
        with writing():
            return (
                answers.write(output, progress.output_bytes),
                faults.write(errors, progress.error_bytes),
            )

    def close(self) -> None:
        """Close them."""
        for file in self._files:
            file.close()
        self._files.clear()


class _Appended:
    """A file that is written at its end."""

    def __init__(self, path: Path, size: int) -> None:
        """Open it, with the first `size` bytes of what is there."""
        with writing():
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            found = os.fstat(self._descriptor).st_size
            if found > size:
                os.ftruncate(self._descriptor, size)
        if found < size:
            self.close()
            raise DamagedOutputError(
                f"{path.name} was damaged: {found} of {size} bytes are there. The job has failed; "
                "its files have what is left. Send the other lines in a new job."
            )

    def write(self, content: bytes, size: int) -> int:
        """Write behind so many bytes; how many there are then."""
        rest = memoryview(content)
        while rest:
            written = os.pwrite(self._descriptor, rest, size)
            rest, size = rest[written:], size + written
        if content:
            os.fsync(self._descriptor)
        return size

    def close(self) -> None:
        os.close(self._descriptor)


def of_what_is_left(store: Store, job: Job) -> Job:
    """The job with as many bytes in its progress as its files have, in whole lines."""
    progress = msgspec.structs.replace(
        job.progress,
        output_bytes=_left(store.path(job.output_file_id), job.progress.output_bytes),
        error_bytes=_left(store.path(job.error_file_id), job.progress.error_bytes),
    )
    return msgspec.structs.replace(job, progress=progress)


def _left(path: Path, size: int) -> int:
    """How many of a file's first `size` bytes are there, up to the end of a line."""
    with writing(), path.open("a+b") as file:
        found = os.fstat(file.fileno()).st_size
        if found >= size or not found:
            return min(found, size)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.rfind(b"\n") + 1


def discard_empty(store: Store, job: Job) -> None:
    """Delete the files of an ended job that have no line."""
    progress: Progress = job.progress
    if not progress.output_bytes:
        store.path(job.output_file_id).unlink(missing_ok=True)
    if not progress.error_bytes:
        store.path(job.error_file_id).unlink(missing_ok=True)


def answered_line(job: Job, line: Line, answer: Answer) -> bytes:
    """What stands in one of the two files for a line that was answered, refused or not."""
    response: dict[str, Any] = {
        "status_code": answer.status,
        "request_id": answer.request_id,
        "body": orjson.Fragment(answer.body),
    }
    for header, name in _KEPT.items():
        if said := answer.headers.get(header):
            response[name] = said
    if line.replaced_surrogates:  # before it was sent
        response["replaced_surrogates"] = str(line.replaced_surrogates)
    return _written(job, line, response, None, named=answer.status != 200)


def unsent_line(job: Job, line: Line, code: str, sentence: str) -> bytes:
    """What stands in the error file for a line that was not answered."""
    error = {"code": code, "message": sentence, "line": line.number}
    return _written(job, line, None, error, named=True)


def expired_line(job: Job, line: Line) -> bytes:
    """What stands in the error file for a line for which there was no time."""
    if line.fault:
        return unsent_line(job, line, line.fault.code, line.fault.message)
    return unsent_line(job, line, "batch_expired", _EXPIRED)


def _written(job: Job, line: Line, response: Any, error: Any, *, named: bool) -> bytes:
    number = {"line": line.number} if named else {}
    whole = {
        "id": f"batch_req_{job.id.removeprefix('batch_')}_{line.number}",
        "custom_id": line.custom_id,
        **number,
        "response": response,
        "error": error,
    }
    return orjson.dumps(whole) + b"\n"
