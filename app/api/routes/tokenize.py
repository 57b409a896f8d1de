"""The route of POST /tokenize."""

from fastapi import APIRouter, Request, Response

from app.api import examples
from app.api.admission import KEY_AND_LIMITS
from app.api.context import request_of, service_of
from app.api.direct_route import DirectRoute
from app.api.openapi import JSON, NO_ENGINE, body_of, responses
from app.api.response_models import TokenizeResponse
from app.api.tokenize import answer

router = APIRouter(route_class=DirectRoute)


@router.post(
    "/tokenize",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=responses(TokenizeResponse, "The tokens of each input.", *NO_ENGINE, of_texts=True),
    openapi_extra=body_of("TokenizeRequest", examples.TOKENIZE),
)
async def tokenize(request: Request) -> Response:
    """Texts -> token ids and counts, and whether they fit; nothing is embedded."""
    service = service_of(request.app)
    async with service.bodies.read(request, request_of(request).budget) as body:
        content, headers = await answer(service.embeddings, body)
    return Response(content, media_type=JSON, headers=headers)
