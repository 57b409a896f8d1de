"""OpenAI's routes of batch jobs: /v1/batches."""

import asyncio

from fastapi import APIRouter, Request, Response

from app.api.admission import KEY, KEY_AND_LIMITS
from app.api.context import edge_of, request_of
from app.api.direct_route import DirectRoute
from app.api.openapi import body_of
from app.api.validation import invalid_field, validated
from app.batches.context import batches_of, owner_of
from app.batches.jobs import NewJob
from app.batches.models import BatchList, BatchObject, BatchRequest
from app.batches.records import DAY_S
from app.batches.routes.common import (
    cancelled,
    created,
    documented,
    job_of,
    json_response,
    limit_of,
    query,
)
from app.batches.shown import batch_object, list_object

router = APIRouter(route_class=DirectRoute)

_EXAMPLE = {
    "input_file_id": "file-0123456789abcdef0123456789abcdef",
    "endpoint": "/v1/embeddings",
    "completion_window": "24h",
}
_UNITS_S = {"h": 3600, "d": DAY_S}
_PAGE, _MOST = 20, 100


def window_s(window: str, days: float) -> int:
    """The seconds of a completion window.

    Raises:
        InvalidFieldsError: it is longer than jobs are kept.
    """
    seconds = int(window[:-1]) * _UNITS_S[window[-1]]
    if seconds > max(days, 1) * DAY_S:
        sentence = f"completion_window is {window}; jobs here are kept for {days:g} days."
        raise invalid_field("completion_window", sentence, "less_than_equal", window)
    return seconds


@router.post(
    "/v1/batches",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=documented(BatchObject, "The job.", 400, 408, 413, 415, 422, 429, 503),
    openapi_extra=body_of("BatchRequest", _EXAMPLE),
)
async def create_batch(request: Request) -> Response:
    """Have the requests in a file answered when there is room for them."""
    shelf, service = batches_of(request).shelf, edge_of(request.app)
    async with service.bodies.read(request, request_of(request).budget) as body:
        asked = validated(BatchRequest, body)
    seconds = window_s(asked.completion_window, shelf.settings.data_days)
    new = NewJob(asked.endpoint, seconds, asked.completion_window, asked.metadata)
    file = await asyncio.to_thread(shelf.files.get, owner_of(request), asked.input_file_id)
    return json_response(batch_object(await created(request, file, new)))


@router.get(
    "/v1/batches",
    dependencies=KEY,
    response_class=Response,
    responses=documented(BatchList, "The jobs of this key.", 422),
    openapi_extra=query(
        ("after", "string", "The last id of the page before."),
        ("limit", "integer", "Jobs of a page, 1 to 100; 20 where it is absent."),
    ),
)
async def list_batches(request: Request) -> Response:
    """The jobs of this key, the newest first."""
    jobs, limit = batches_of(request).shelf.jobs, limit_of(request, _PAGE, _MOST)
    after = request.query_params.get("after")
    found = await asyncio.to_thread(jobs.page, owner_of(request), after, limit + 1)
    shown = [batch_object(job) for job in found[:limit]]
    return json_response(list_object(shown, more=len(found) > limit))


@router.get(
    "/v1/batches/{id}",
    dependencies=KEY,
    response_class=Response,
    responses=documented(BatchObject, "The job."),
)
async def get_batch(request: Request, id: str) -> Response:  # noqa: A002  (the API's name)
    """How far a job is, and how long it will take."""
    return json_response(batch_object(await job_of(request, id)))


@router.post(
    "/v1/batches/{id}/cancel",
    dependencies=KEY,
    response_class=Response,
    responses=documented(BatchObject, "The job, which ends soon.", 409),
)
async def cancel_batch(request: Request, id: str) -> Response:  # noqa: A002
    """End a job; what has been answered stays in its output file."""
    return json_response(batch_object(await cancelled(request, id)))
