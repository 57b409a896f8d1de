"""Jina's routes of batch jobs: /v1/batch. The jobs are those of /v1/batches."""

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from app.api.admission import KEY, KEY_AND_LIMITS
from app.api.context import edge_of, request_of
from app.api.direct_route import DirectRoute
from app.api.field_names import ALIASES
from app.api.openapi import body_of
from app.api.request_models import EmbeddingsRequest
from app.api.response_headers import headers_of
from app.api.validation import invalid_field, validated
from app.api.vectors import to_json
from app.batches.context import Batches, batches_of, owner_of
from app.batches.jobs import NewJob
from app.batches.models import JinaBatch, JinaBatchRequest, JinaSubmitted
from app.batches.records import Job, StoredFile
from app.batches.routes.common import cancelled, created, documented, job_of, json_response
from app.batches.shown import jina_batch
from app.dialects.voyage import kind_of
from app.errors import ConflictError, RequestError, TooManyInputsError

router = APIRouter(route_class=DirectRoute)

_MOST_INPUTS = 10_000
_MOST_TEMPLATE_BYTES = 4096  # each line of the job is sent with them
_JSONL = "application/x-ndjson"
_EXAMPLE = {"model": "quintet-mini", "task": "retrieval.passage", "input": ["Guten Morgen!"]}
_LINES = {
    200: {
        "description": "A line of JSON for each.",
        "content": {_JSONL: {"schema": {"type": "string"}}},
    }
}


@router.post(
    "/v1/batch/embeddings",
    status_code=202,
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=documented(JinaSubmitted, "The job.", 400, 408, 413, 415, 422, 429, 503, status=202),
    openapi_extra=body_of("JinaBatchRequest", _EXAMPLE),
)
async def submit_batch(request: Request) -> Response:
    """Have texts embedded when there is room for them."""
    batches, service = batches_of(request), edge_of(request.app)
    async with service.bodies.read(request, request_of(request).budget) as body:
        asked = validated(JinaBatchRequest, body)
        kind = kind_of(body) if "voyage" in service.settings.dialects else EmbeddingsRequest
        whole = _whole(batches, asked, kind)
    if (asked.input is None) == (asked.input_file is None):
        sentence = "send either input, a list of texts, or input_file, the id of a file."
        raise invalid_field("input", sentence, "conflict", None)
    new = NewJob("/v1/embeddings", template=_template(asked, whole))
    if asked.input is None:
        file = await asyncio.to_thread(_named, batches, owner_of(request), asked.input_file or "")
    else:
        file = await asyncio.to_thread(_written, batches, owner_of(request), whole.input)
    job = await created(request, file, new)
    body_ = {"batch_id": job.id, "status": "submitted", "created_at": job.created_at}
    response = json_response(body_, 202)
    response.headers.update(headers_of(whole))
    return response


def _fields(asked: JinaBatchRequest) -> dict[str, Any]:
    """The fields that are the same for all inputs."""
    own = ("input", "input_file")
    return {name: value for name, value in asked if value is not None and name not in own}


def _whole(
    batches: Batches, asked: JinaBatchRequest, kind: type[EmbeddingsRequest]
) -> EmbeddingsRequest:
    """The request that all inputs together would be; of a file, any one of them.

    Raises:
        RequestError: it would be refused.
    """
    texts = ["any"] if asked.input is None else asked.input
    request = validated(kind, {**_fields(asked), "input": texts})
    request.replace_surrogates(asked.replaced_surrogates)
    if request.late_chunking:
        sentence = (
            "here each input is read alone, and late_chunking reads them as parts of one document. "
            "Send a document as a line of a file of POST /v1/batches, or leave late_chunking out."
        )
        raise invalid_field("late_chunking", sentence, "conflict", True)
    most = min(_MOST_INPUTS, batches.shelf.settings.max_file_lines)
    if len(request.input) > most:
        raise TooManyInputsError(len(request.input), most)
    batches.check(request.model_copy(update={"input": request.input[:1]}))
    return request


def _template(asked: JinaBatchRequest, whole: EmbeddingsRequest) -> dict[str, Any]:
    """What each line's request has beside its input: the fields that mean something.

    Raises:
        RequestError: they are too large to be kept with the job.
    """
    left_out = {*ALIASES["input"], *whole.ignored_fields}
    kept = {name: value for name, value in _fields(asked).items() if name not in left_out}
    try:
        size = len(to_json(kept))
    except TypeError:
        raise RequestError("a number beside the inputs has over 64 bits; send less.") from None
    if size > _MOST_TEMPLATE_BYTES:
        raise RequestError(
            f"the fields beside the inputs have {size} bytes; a job keeps at most "
            f"{_MOST_TEMPLATE_BYTES}. Send shorter ones."
        )
    return kept


def _named(batches: Batches, owner: str, name: str) -> StoredFile:
    if "://" in name:
        sentence = "input_file is the id of a file that POST /v1/files took; none is fetched."
        raise invalid_field("input_file", sentence, "value", name)
    return batches.shelf.files.get(owner, name)


def _written(batches: Batches, owner: str, texts: list[str]) -> StoredFile:
    """The file that the inputs of a body become, if they may become a job."""
    batches.shelf.jobs.check_room(owner)
    upload = batches.shelf.files.begin()
    try:
        for text in texts:
            upload.write(orjson.dumps({"input": text}) + b"\n")
        return batches.shelf.files.commit(upload, owner, "input.jsonl")
    finally:
        upload.discard()


@router.get(
    "/v1/batch/{id}",
    dependencies=KEY,
    response_class=Response,
    responses=documented(JinaBatch, "The job."),
)
async def get_jina_batch(request: Request, id: str) -> Response:  # noqa: A002  (the API's name)
    """How far a job is."""
    return json_response(jina_batch(await job_of(request, id)))


@router.get(
    "/v1/batch/{id}/output",
    dependencies=KEY,
    response_class=Response,
    responses=documented(None, "", 409) | _LINES,
)
async def get_output(request: Request, id: str) -> Response:  # noqa: A002
    """What the inputs of a job that has ended were answered, a line each."""
    job = await job_of(request, id)
    return await _file(request, job, job.output_file_id, job.progress.output_bytes)


@router.get(
    "/v1/batch/{id}/errors",
    dependencies=KEY,
    response_class=Response,
    responses=documented(None, "", 409) | _LINES,
)
async def get_errors(request: Request, id: str) -> Response:  # noqa: A002
    """What was refused or could not be read, a line each."""
    job = await job_of(request, id)
    return await _file(request, job, job.error_file_id, job.progress.error_bytes)


@router.delete(
    "/v1/batch/{id}",
    dependencies=KEY,
    response_class=Response,
    responses=documented(JinaBatch, "The job, which ends soon.", 409),
)
async def cancel_jina_batch(request: Request, id: str) -> Response:  # noqa: A002
    """End a job; what has been answered stays in its output."""
    return json_response(jina_batch(await cancelled(request, id)))


async def _file(request: Request, job: Job, file_id: str, size: int) -> Response:
    """The lines of one of the two files of an ended job."""
    if job.ended_at is None:
        progress = job.progress
        raise ConflictError(
            f"{job.id} is {job.status}, with {progress.lines} of {job.total} lines done: its files "
            "are there when it has ended."
        )
    if not size:
        return Response(media_type=_JSONL)
    files = batches_of(request).shelf.files
    file = await asyncio.to_thread(files.get, owner_of(request), file_id)
    path = await asyncio.to_thread(files.content, file)
    return FileResponse(path, media_type=_JSONL)
