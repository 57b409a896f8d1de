"""The route of POST /v1/embeddings, and the same under the address of Azure OpenAI's clients."""

from functools import partial

from fastapi import APIRouter, Request, Response

from app.api import examples
from app.api.admission import KEY_AND_LIMITS
from app.api.context import service_of
from app.api.direct_route import DirectRoute
from app.api.openapi import body_of, responses
from app.api.respond import respond
from app.api.response_models import EmbeddingsResponse

router = APIRouter(route_class=DirectRoute)


@router.post(
    "/v1/embeddings",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=responses(EmbeddingsResponse, "A vector for each input, in order.", of_texts=True),
    openapi_extra=body_of("EmbeddingsRequest", examples.EMBEDDINGS),
)
async def create_embeddings(request: Request) -> Response:
    """Texts -> vectors, read by the adapter of the task."""
    return await respond(request, service_of(request.app).embeddings.answer)


@router.post(
    "/openai/deployments/{name:path}/embeddings",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=responses(EmbeddingsResponse, "A vector for each input, in order.", of_texts=True),
    openapi_extra=body_of("EmbeddingsRequest", examples.AZURE),
)
async def create_azure_embeddings(request: Request, name: str) -> Response:
    """The same under the address of Azure OpenAI's clients, whose deployment is a served name. It
    comes before a `model` in the body, as on Azure; one that differs is named as ignored."""
    return await respond(request, partial(service_of(request.app).embeddings.answer, model=name))
