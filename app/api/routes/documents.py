"""The route of POST /v1/documents."""

from functools import partial

from fastapi import APIRouter, Request, Response

from app.api import documents, examples
from app.api.admission import KEY_AND_LIMITS
from app.api.context import service_of
from app.api.direct_route import DirectRoute
from app.api.document_models import DocumentsResponse
from app.api.openapi import body_of, responses
from app.api.respond import respond

router = APIRouter(route_class=DirectRoute)


@router.post(
    "/v1/documents",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=responses(DocumentsResponse, "Each document's chunks, in order.", of_texts=True),
    openapi_extra=body_of("DocumentsRequest", examples.DOCUMENTS),
)
async def create_documents(request: Request) -> Response:
    """Documents -> their chunks, each with its place in the text and its vector. With late chunking
    a document is read once, and every chunk's vector knows what stands around it."""
    return await respond(request, partial(documents.answer, service_of(request.app).embeddings))
