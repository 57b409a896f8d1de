"""The route of POST /invocations, which containers of model marketplaces answer."""

from functools import partial

from fastapi import APIRouter, Request, Response

from app.api import examples
from app.api.admission import KEY_AND_LIMITS
from app.api.context import service_of
from app.api.direct_route import DirectRoute
from app.api.invocations import answer
from app.api.openapi import JSON, body_of, responses
from app.api.respond import respond
from app.api.response_models import InvocationsResponse

router = APIRouter(route_class=DirectRoute)


@router.post(
    "/invocations",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=responses(InvocationsResponse, "A vector for each text, in order.", of_texts=True),
    openapi_extra=body_of("InvocationsRequest", examples.INVOCATIONS, examples.INVOCATIONS_CSV),
)
async def invocations(request: Request) -> Response:
    """The contract of SageMaker's and Azure Marketplace's containers."""
    content_type = request.headers.get("content-type", JSON)
    return await respond(request, partial(answer, service_of(request.app).embeddings, content_type))
