"""Google's POST /v1beta/models/NAME:embedContent and NAME:batchEmbedContents.

Judges: the package google-genai (models.py, errors.py) and https://ai.google.dev/api/embeddings.
The task, the size and the model are the same for all requests of a batch, as its clients send them.
"""

import re
from functools import partial
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from app.api.admission import KEY_AND_LIMITS
from app.api.context import service_of
from app.api.direct_route import DirectRoute
from app.api.embeddings import EmbeddingService, Result
from app.api.field_names import refusal
from app.api.openapi import body_of
from app.api.request_models import Size
from app.api.respond import respond
from app.api.response_models import ResponseModel
from app.api.spaces import Call
from app.api.validation import invalid_field, validated
from app.dialects.dialect import BOUNDED, Dialect, DialectRequest, documented, key_in_address
from app.errors import QuintetError
from model.tasks import PASSAGE_TASK, SEPARATION

TASKS = {
    "RETRIEVAL_QUERY": "retrieval.query",
    "RETRIEVAL_DOCUMENT": PASSAGE_TASK,
    "SEMANTIC_SIMILARITY": "text-matching",
    "CLASSIFICATION": "classification",
    "CLUSTERING": SEPARATION,
    "TASK_TYPE_UNSPECIFIED": None,
}
TaskType = Literal[
    "RETRIEVAL_QUERY",
    "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "TASK_TYPE_UNSPECIFIED",
]
_PREFIX = "models/"
_STATUSES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class GoogleRequest(DialectRequest):
    """Names are as in JSON, or as in protocol buffers."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="ignore")


class GooglePart(GoogleRequest):
    """A text; images, sounds and files are not read."""

    text: str = Field(description="The text.")


class GoogleContent(GoogleRequest):
    """One text."""

    parts: list[GooglePart] = Field(
        description="One part: one vector is of one text.",
        json_schema_extra={"minItems": 1, "maxItems": 1},
    )
    role: str | None = Field(None, description="Taken and not used.")

    @field_validator("parts", mode="before")
    @classmethod
    def _is_one_text(cls, parts: Any) -> Any:
        if isinstance(parts, list) and len(parts) != 1:
            sentence = "parts has {given} parts; send one, or a content for each text."
            raise PydanticCustomError("too_many_parts", sentence, {"given": len(parts)})
        return parts


class EmbedContentRequest(GoogleRequest):
    """The body of :embedContent, and a request of a batch. A `model` in it must be that of the
    address; a `title` is refused."""

    content: GoogleContent = Field(description="The text.")
    model: SkipJsonSchema[str | None] = None
    task_type: TaskType | None = Field(
        None,
        description="The task: `SEMANTIC_SIMILARITY` is text-matching, `CLUSTERING` separation, "
        "`RETRIEVAL_DOCUMENT` retrieval.passage.",
    )
    title: SkipJsonSchema[str | None] = None
    output_dimensionality: Size | None = Field(
        None, description="Any size up to the model's width."
    )

    @model_validator(mode="after")
    def _has_no_title(self) -> Self:
        if self.title:
            sentence = "title is not read here; put it in front of the text."
            raise refusal("title", "unsupported", sentence, self.title)
        return self


class BatchEmbedContentsRequest(GoogleRequest):
    """The body of :batchEmbedContents."""

    requests: Annotated[list[EmbedContentRequest], BOUNDED] = Field(
        min_length=1, fail_fast=True, description="Texts, with the same task and size."
    )


class ContentEmbedding(ResponseModel):
    """A vector."""

    values: list[float]
    """Its numbers, of length 1."""


class EmbedContentResponse(ResponseModel):
    """The answer of :embedContent."""

    embedding: ContentEmbedding
    """Of the text."""


class BatchEmbedContentsResponse(ResponseModel):
    """The answer of :batchEmbedContents."""

    embeddings: list[ContentEmbedding]
    """A vector for each request, in order."""


class GoogleStatus(ResponseModel):
    """What is wrong."""

    code: int
    """The HTTP status."""
    message: str
    """What is wrong, how much, the limit, what to do."""
    status: str
    """Its kind, as in gRPC."""


class GoogleError(ResponseModel):
    """The body of an error."""

    error: GoogleStatus
    """What is wrong."""


def error_form(error: QuintetError, _request_id: str) -> tuple[int, dict[str, Any]]:
    """Invalid fields are 400."""
    code = 400 if error.status == 422 else error.status
    status = _STATUSES.get(code, "INVALID_ARGUMENT")
    return code, {"error": {"code": code, "message": str(error), "status": status}}


async def answer(
    embeddings: EmbeddingService, model: str, batch: bool, body: bytes, call: Call
) -> Result:
    """One request, from its body to that of the response.

    Raises:
        RequestError: the request is refused, and nothing of it reached the queue.
        QuintetError: the engine did not take it, or failed on it.
    """
    if batch:
        request: GoogleRequest = (whole := validated(BatchEmbedContentsRequest, body))
        requests, within = whole.requests, "requests.0."
    else:
        request = validated(EmbedContentRequest, body)
        requests, within = [request], ""
    _check_same(requests, model)
    first = requests[0]
    fields = {
        "model": model,
        "input": [each.content.parts[0].text for each in requests],
        "task": first.task_type and TASKS[first.task_type],
        "dimensions": first.output_dimensionality,
    }
    names = {"task": "taskType", "dimensions": "outputDimensionality"}
    names = {field: within + name for field, name in names.items()}
    names["input"] = "requests" if batch else "content"
    embedded = await embeddings.embed(request.asked(fields, "it in parts", names), call)
    values = [{"values": vector} for vector in embedded.encoded]
    return embedded.result({"embeddings": values} if batch else {"embedding": values[0]})


def _check_same(requests: list[EmbedContentRequest], model: str) -> None:
    """
    Raises:
        InvalidFieldsError: a request is for another model than the address, or has another task or
            size than the first one.
    """
    first = requests[0]
    for index, each in enumerate(requests):
        if (each.model or model).removeprefix(_PREFIX) != model:
            sentence = f"requests[{index}].model is not the model of the address, {model}."
            raise invalid_field("model", sentence, "conflict", each.model)
        for name in ("task_type", "output_dimensionality"):
            if getattr(each, name) != getattr(first, name):
                sentence = f"requests[{index}].{to_camel(name)} is not that of the first request."
                raise invalid_field(
                    f"requests.{index}.{to_camel(name)}", sentence, "conflict", None
                )


router = APIRouter(route_class=DirectRoute)
_EXAMPLE = {
    "content": {"parts": [{"text": "Guten Morgen!"}]},
    "taskType": "RETRIEVAL_QUERY",
    "outputDimensionality": 128,
}
_REFUSED = {422: ""}
_KEY_AND_LIMITS = [Depends(key_in_address), *KEY_AND_LIMITS]


@router.post(
    "/v1beta/models/{name:path}:embedContent",
    dependencies=_KEY_AND_LIMITS,
    response_class=Response,
    responses=documented(EmbedContentResponse, "The vector.", GoogleError, _REFUSED),
    openapi_extra=body_of("EmbedContentRequest", _EXAMPLE),
)
async def embed_content(request: Request, name: str) -> Response:
    """What clients of Google's Gemini API send for one text."""
    embeddings = service_of(request.app).embeddings
    return await respond(request, partial(answer, embeddings, name, False))


@router.post(
    "/v1beta/models/{name:path}:batchEmbedContents",
    dependencies=_KEY_AND_LIMITS,
    response_class=Response,
    responses=documented(BatchEmbedContentsResponse, "A vector a text.", GoogleError, _REFUSED),
    openapi_extra=body_of("BatchEmbedContentsRequest", {"requests": [_EXAMPLE]}),
)
async def batch_embed_contents(request: Request, name: str) -> Response:
    """What they send for several texts."""
    embeddings = service_of(request.app).embeddings
    return await respond(request, partial(answer, embeddings, name, True))


_BODIES = (EmbedContentRequest, BatchEmbedContentsRequest)
# A name may have line ends, which no route takes.
DIALECT = Dialect(router, _BODIES, error_form, re.compile(r"\w+ /v1beta/.*", re.DOTALL))
