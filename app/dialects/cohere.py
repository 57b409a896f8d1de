"""Cohere's POST /v2/embed and /v1/embed.

Judges: the package cohere (5.21 and 7.3: v2/raw_client.py, raw_base_client.py, types/), and
https://docs.cohere.com/reference/embed. Texts are cut at their ends unless `truncate` is NONE.
"""

import re
import uuid
from functools import partial
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema

from app.api.admission import KEY_AND_LIMITS
from app.api.context import service_of
from app.api.direct_route import DirectRoute
from app.api.embeddings import EmbeddingService, Result
from app.api.field_names import refusal
from app.api.openapi import body_of
from app.api.request_models import Count, Size
from app.api.respond import respond
from app.api.response_models import ResponseModel
from app.api.spaces import Call
from app.api.validation import validated
from app.dialects.dialect import (
    BOUNDED,
    TEXTS_SCHEMA,
    Dialect,
    DialectRequest,
    Texts,
    documented,
)
from app.errors import QuintetError
from model.tasks import PASSAGE_TASK, SEPARATION

TASKS = {
    "search_query": "retrieval.query",
    "search_document": PASSAGE_TASK,
    "classification": "classification",
    "clustering": SEPARATION,
}
InputType = Literal["search_query", "search_document", "classification", "clustering"]
# Without uint8: from 0 up, numbers would say neither where zero is nor how large a step is.
VectorType = Literal["float", "base64", "binary", "ubinary", "int8"]
_INPUT_TYPE = (
    "The task: `search_query` is retrieval.query, `search_document` retrieval.passage, and "
    "`clustering` separation."
)
_NAMES = {"input": "texts", "task": "input_type", "dimensions": "output_dimension"}


class CohereText(DialectRequest):
    """A part of an input; images are not read."""

    type: Literal["text"] = Field(description="What it is.")
    text: str = Field(description="The text.")


class CohereContent(DialectRequest):
    """An input of one part."""

    content: list[CohereText] = Field(min_length=1, max_length=1, description="One text.")


class CohereEmbedRequest(DialectRequest):
    """The body of POST /v1/embed. `images` are refused."""

    model_config = ConfigDict(json_schema_extra={"required": ["texts"]})

    model: str | None = Field(None, description="A served name.")
    texts: Annotated[Texts | None, WithJsonSchema(TEXTS_SCHEMA)] = Field(
        None, description="Texts to embed."
    )
    input_type: InputType | None = Field(None, description=_INPUT_TYPE)
    embedding_types: Annotated[list[VectorType] | None, BOUNDED] = Field(
        None,
        min_length=1,
        fail_fast=True,
        description="How vectors are written: an object with a key for each.",
    )
    truncate: Literal["END", "NONE"] = Field(
        "END", description="What is over the limit is cut from the end, or refused."
    )
    images: SkipJsonSchema[list[Any] | None] = None

    @model_validator(mode="after")
    def _is_readable(self) -> Self:
        if self.images:
            raise refusal("images", "unsupported", "images are not read here; send texts.")
        if self.texts is None and not self.contents():
            raise refusal("texts", "missing", "texts: field required.")
        return self

    def contents(self) -> list[str]:
        """Texts that are sent in another field."""
        return []


class CohereEmbedV2Request(CohereEmbedRequest):
    """The body of POST /v2/embed. In place of `texts` it may have `inputs`, contents of one text
    each. `images` and `max_tokens` are refused."""

    model_config = ConfigDict(json_schema_extra={"required": ["texts", "model", "input_type"]})

    model: str = Field(description="A served name.")
    input_type: InputType = Field(description=_INPUT_TYPE)
    embedding_types: Annotated[list[VectorType], BOUNDED] = Field(
        ["float"], min_length=1, fail_fast=True, description="How vectors are written."
    )
    inputs: Annotated[SkipJsonSchema[list[CohereContent] | None], BOUNDED] = Field(
        None, min_length=1, fail_fast=True
    )
    output_dimension: Size | None = Field(None, description="Any size up to the model's width.")
    max_tokens: SkipJsonSchema[Count | None] = None

    @model_validator(mode="after")
    def _is_unambiguous(self) -> Self:
        if self.inputs and self.texts is not None:
            raise refusal("inputs", "conflict", "texts and inputs cannot both be sent.")
        if self.max_tokens is not None:
            sentence = "max_tokens is not read here: a text is cut where the model's limit is."
            raise refusal("max_tokens", "unsupported", sentence, self.max_tokens)
        return self

    def contents(self) -> list[str]:
        """Texts that are sent in another field."""
        return [each.content[0].text for each in self.inputs or ()]


class CohereEmbeddings(ResponseModel):
    """Vectors of all texts, for each type that was asked for."""

    floats: list[list[float]] | None = Field(None, alias="float")
    """Numbers."""
    base64: list[str] | None = None
    """Little-endian float32."""
    binary: list[list[int]] | None = None
    """A sign bit a dimension, eight to a number; minus 128."""
    ubinary: list[list[int]] | None = None
    """The same from 0 up."""
    int8: list[list[int]] | None = None
    """From -127 to 127: times `scales` in `meta`, one for each text, they are the vectors."""


class CohereEmbedResponse(ResponseModel):
    """The answer of POST /v2/embed."""

    id: str
    """Of the answer."""
    response_type: Literal["embeddings_by_type"]
    """What `embeddings` is."""
    embeddings: CohereEmbeddings
    """By type."""
    texts: list[str]
    """Those that were sent."""
    meta: dict[str, Any]
    """`api_version`, under `billed_units` the tokens, and `scales` of int8."""


class CohereEmbedV1Response(CohereEmbedResponse):
    """The answer of POST /v1/embed: without `embedding_types` a list of vectors."""

    response_type: Literal["embeddings_floats", "embeddings_by_type"]  # type: ignore[assignment]
    """What `embeddings` is."""
    embeddings: list[list[float]] | CohereEmbeddings  # type: ignore[assignment]
    """In the order of the texts."""


class CohereError(ResponseModel):
    """The body of an error."""

    message: str
    """What is wrong, how much, the limit, what to do."""
    id: str
    """Of the request."""


def error_form(error: QuintetError, request_id: str) -> tuple[int, dict[str, Any]]:
    """Invalid fields are 400."""
    status = 400 if error.status == 422 else error.status
    return status, {"id": request_id, "message": str(error)}


async def answer(
    embeddings: EmbeddingService, kind: type[CohereEmbedRequest], body: bytes, call: Call
) -> Result:
    """One request, from its body to that of the response.

    Raises:
        RequestError: the request is refused, and nothing of it reached the queue.
        QuintetError: the engine did not take it, or failed on it.
    """
    request = validated(kind, body)
    second = request if isinstance(request, CohereEmbedV2Request) else None
    texts = request.contents() or request.texts
    fields = {
        "model": request.model,
        "input": texts,
        "task": request.input_type and TASKS[request.input_type],
        "dimensions": second and second.output_dimension,
        "embedding_type": request.embedding_types or ["float"],
        "truncate": request.truncate == "END",
    }
    asked = request.asked(fields, '"truncate": "END" to cut at the limit', _NAMES)
    embedded = await embeddings.embed(asked, call)
    types = asked.embedding_type
    by_type = {
        name: [each[name] for each in embedded.encoded] if len(types) > 1 else embedded.encoded
        for name in types
    }
    floats = request.embedding_types is None
    scales = {} if embedded.scales is None else {"scales": embedded.scales}
    return embedded.result(
        {
            "id": str(uuid.uuid4()),
            "response_type": "embeddings_floats" if floats else "embeddings_by_type",
            "embeddings": by_type["float"] if floats else by_type,
            "texts": texts,
            "meta": {
                "api_version": {"version": "2" if second else "1"},
                "billed_units": {"input_tokens": embedded.tokenized.tokens},
                **scales,
            },
        }
    )


router = APIRouter(route_class=DirectRoute)
_EXAMPLE = {"texts": ["Guten Morgen!"], "model": "quintet-mini", "input_type": "search_document"}
_REFUSED = {422: ""}


@router.post(
    "/v2/embed",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=documented(CohereEmbedResponse, "Vectors by type.", CohereError, _REFUSED),
    openapi_extra=body_of("CohereEmbedV2Request", {**_EXAMPLE, "embedding_types": ["float"]}),
)
async def embed(request: Request) -> Response:
    """What clients of Cohere's API send."""
    embeddings = service_of(request.app).embeddings
    return await respond(request, partial(answer, embeddings, CohereEmbedV2Request))


@router.post(
    "/v1/embed",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=documented(CohereEmbedV1Response, "Vectors.", CohereError, _REFUSED),
    openapi_extra=body_of("CohereEmbedRequest", _EXAMPLE),
)
async def embed_v1(request: Request) -> Response:
    """The same for older clients; `input_type` may be left out, which is the default task."""
    embeddings = service_of(request.app).embeddings
    return await respond(request, partial(answer, embeddings, CohereEmbedRequest))


_BODIES = (CohereEmbedV2Request, CohereEmbedRequest)
DIALECT = Dialect(router, _BODIES, error_form, re.compile(r"\w+ /v[12]/embed"))
