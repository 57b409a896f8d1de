"""OpenAI's routes of files: /v1/files."""

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from app.api.admission import KEY, KEY_AND_LIMITS
from app.api.direct_route import DirectRoute
from app.api.validation import invalid_field
from app.batches.context import batches_of, owner_of
from app.batches.models import FileDeleted, FileList, FileObject
from app.batches.routes.common import documented, json_response, limit_of, query
from app.batches.shown import file_object, list_object
from app.batches.upload import received
from app.errors import NotFoundError
from app.settings import UPLOAD_PATH

router = APIRouter(route_class=DirectRoute)

_MOST = 10_000
_LINE = (
    '{"custom_id": "1", "method": "POST", "url": "/v1/embeddings", "body": {"input": "Good day"}}'
)
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"$ref": "#/components/schemas/FileForm"},
                "example": {"purpose": "batch", "file": f"{_LINE};filename=requests.jsonl"},
            }
        },
    }
}


@router.post(
    UPLOAD_PATH,
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=documented(FileObject, "The file.", 400, 408, 413, 415, 429, 503),
    openapi_extra=_FORM,
)
async def upload_file(request: Request) -> Response:
    """Upload a JSONL file for a batch job."""
    shelf = batches_of(request).shelf
    file = await received(request, shelf.files, shelf.settings, owner_of(request))
    return json_response(file_object(file))


@router.get(
    UPLOAD_PATH,
    dependencies=KEY,
    response_class=Response,
    responses=documented(FileList, "The files of this key.", 422),
    openapi_extra=query(
        ("after", "string", "The last id of the page before."),
        ("limit", "integer", "Files of a page, 10,000 where it is absent."),
        ("order", "string", "By their age: `desc`, the newest first, or `asc`."),
        ("purpose", "string", "Only those: `batch` or `batch_output`."),
    ),
)
async def list_files(request: Request) -> Response:
    """The files of this key."""
    files, asked = batches_of(request).shelf.files, request.query_params
    limit, order = limit_of(request, _MOST, _MOST), asked.get("order", "desc")
    if order not in ("asc", "desc"):
        raise invalid_field("order", "order is asc or desc.", "enum", order)
    found = await asyncio.to_thread(files.owned, owner_of(request))
    if order == "asc":
        found.reverse()
    if purpose := asked.get("purpose"):
        found = [file for file in found if file.purpose == purpose]
    if after := asked.get("after"):
        ids = [file.id for file in found]
        if after not in ids:
            raise NotFoundError(f"there is no file {after[:80]!r}, or not any more.")
        found = found[ids.index(after) + 1 :]
    shown = [file_object(file) for file in found[:limit]]
    return json_response(list_object(shown, more=len(found) > limit))


@router.get(
    UPLOAD_PATH + "/{id}",
    dependencies=KEY,
    response_class=Response,
    responses=documented(FileObject, "The file."),
)
async def get_file(request: Request, id: str) -> Response:  # noqa: A002  (the API's name)
    """What a file is called, and how large it is."""
    files = batches_of(request).shelf.files
    return json_response(file_object(await asyncio.to_thread(files.get, owner_of(request), id)))


@router.get(
    UPLOAD_PATH + "/{id}/content",
    dependencies=KEY,
    response_class=Response,
    responses={
        **documented(None, "The bytes of the file."),
        200: {
            "description": "The bytes of the file.",
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        },
    },
)
async def get_content(request: Request, id: str) -> Response:  # noqa: A002
    """The bytes of a file."""
    files = batches_of(request).shelf.files
    file = await asyncio.to_thread(files.get, owner_of(request), id)
    path = await asyncio.to_thread(files.content, file)
    return FileResponse(path, media_type="application/octet-stream", filename=file.filename)


@router.delete(
    UPLOAD_PATH + "/{id}",
    dependencies=KEY,
    response_class=Response,
    responses=documented(FileDeleted, "It is deleted.", 409),
)
async def delete_file(request: Request, id: str) -> Response:  # noqa: A002
    """Delete a file that no unfinished job reads."""
    files = batches_of(request).shelf.files
    await asyncio.to_thread(files.delete, owner_of(request), id)
    return json_response({"id": id, "object": "file", "deleted": True})
