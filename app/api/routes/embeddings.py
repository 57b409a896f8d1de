"""The route of POST /v1/embeddings, and the same under the address of Azure OpenAI's clients."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api import examples, octets
from app.api.admission import KEY_AND_LIMITS
from app.api.context import service_of
from app.api.direct_route import DirectRoute
from app.api.embeddings import Result
from app.api.openapi import body_of, responses, with_octets
from app.api.respond import respond
from app.api.response_models import EmbeddingsResponse

router = APIRouter(route_class=DirectRoute)

_RESPONSES = with_octets(
    responses(EmbeddingsResponse, "A vector for each input, in order.", of_texts=True)
)


@router.post(
    "/v1/embeddings",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=_RESPONSES,
    openapi_extra=body_of("EmbeddingsRequest", examples.EMBEDDINGS),
)
async def create_embeddings(request: Request) -> Response:
    """Texts -> vectors, read by the adapter of the task."""
    return await respond(request, _answer(request))


@router.post(
    "/openai/deployments/{name:path}/embeddings",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=_RESPONSES,
    openapi_extra=body_of("EmbeddingsRequest", examples.AZURE),
)
async def create_azure_embeddings(request: Request, name: str) -> Response:
    """The same under the address of Azure OpenAI's clients, whose deployment is a served name. It
    comes before a `model` in the body, as on Azure; one that differs is named as ignored."""
    return await respond(request, partial(_answer(request), model=name))


def _answer(request: Request) -> Callable[..., Coroutine[Any, Any, Result]]:
    """What answers a request in the media type that it accepts."""
    embeddings = service_of(request.app).embeddings
    if octets.wanted(request.headers.get("accept", "")):
        return partial(octets.answer, embeddings)
    return embeddings.answer
