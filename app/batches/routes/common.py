"""What the routes of batch jobs have in common."""

import asyncio
from typing import Any

from fastapi import Request, Response

from app.api.context import caller_address
from app.api.openapi import JSON, refused
from app.api.response_models import ErrorBody
from app.api.validation import check_range, invalid_field
from app.api.vectors import to_json
from app.batches.context import batches_of, owner_of
from app.batches.jobs import NewJob
from app.batches.records import Job, StoredFile

_MEANINGS = {
    404: "There is no such file or job of this key, or there are no batch jobs here.",
    409: "The state that it is in does not allow that.",
    507: "There is no room in the folder of batch jobs.",
}


def documented(model: Any, description: str, *refusals: int, status: int = 200) -> dict[Any, Any]:
    """The responses of a route: one, and those it is refused with; 401, 404 and 507 always."""
    others = refused(*(each for each in refusals if each not in _MEANINGS), 401)
    own = {
        each: {"model": ErrorBody, "description": meaning}
        for each, meaning in _MEANINGS.items()
        if each in refusals or each != 409
    }
    return {status: {"model": model, "description": description}, **others, **own}


def query(*parameters: tuple[str, str, str]) -> dict[str, Any]:
    """The parameters of an address, each a name, a type and a description."""
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": meaning,
                "schema": {"type": kind},
            }
            for name, kind, meaning in parameters
        ]
    }


def json_response(body: Any, status: int = 200) -> Response:
    """A body as JSON."""
    return Response(to_json(body), status, media_type=JSON)


async def job_of(request: Request, job_id: str) -> Job:
    """A job of this key."""
    jobs = batches_of(request).shelf.jobs
    return await asyncio.to_thread(jobs.get, owner_of(request), job_id)


async def created(request: Request, file: StoredFile, new: NewJob) -> Job:
    """Make a job of a file, and begin with it."""
    batches = batches_of(request)
    jobs, address = batches.shelf.jobs, caller_address(request)
    job = await asyncio.to_thread(jobs.create, file, new, address)
    batches.runner.wake()
    return job


async def cancelled(request: Request, job_id: str) -> Job:
    """End a job of this key."""
    batches = batches_of(request)
    job = await asyncio.to_thread(batches.shelf.jobs.cancel, owner_of(request), job_id)
    batches.runner.wake()
    return job


def limit_of(request: Request, default: int, most: int) -> int:
    """The `limit` of a page.

    Raises:
        InvalidFieldsError: it is no number, or out of its range.
    """
    given = request.query_params.get("limit")
    if given is None:
        return default
    if not given.isascii() or not given.isdecimal() or len(given) > 9:
        raise invalid_field("limit", f"limit is a whole number from 1 to {most}.", "int", given)
    check_range("limit", int(given), 1, most, "a page has")
    return int(given)
