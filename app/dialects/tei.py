"""text-embeddings-inference's POST /embed (also /) and /embed_all, and its fields of GET /info.

Judges: its router/src/http/server.rs, types.rs and lib.rs; huggingface_hub's
InferenceClient.feature_extraction; llama-index-embeddings-text-embeddings-inference.
"""

import re
from functools import partial
from typing import Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field

from app.api.admission import KEY_AND_LIMITS
from app.api.context import ServiceContext, service_of
from app.api.direct_route import DirectRoute
from app.api.embeddings import EmbeddedInputs, EmbeddingService, Result
from app.api.openapi import body_of
from app.api.request_models import EmbeddingsRequest, Size
from app.api.respond import respond
from app.api.response_models import ResponseModel
from app.api.spaces import Call
from app.api.validation import validated
from app.api.vectors import to_json
from app.dialects.dialect import Dialect, DialectRequest, Texts, documented
from app.errors import (
    BodyTooLargeError,
    LimitReachedError,
    NotReadyError,
    QuintetError,
    TokenLimitError,
    TooManyInputsError,
    TooManyJsonTokensError,
    UnavailableError,
)
from model.cpus import usable_cpus
from model.rows import Row
from model.tokenizer import RowOptions

_NAMES = {"input": "inputs", "task": "prompt_name"}
_WAY_OUT = '"truncate": true to cut at the limit'
_TOO_MUCH = (TokenLimitError, TooManyInputsError, BodyTooLargeError, TooManyJsonTokensError)


class TeiEmbedAllRequest(DialectRequest):
    """The body of POST /embed_all."""

    inputs: Texts = Field(description="A text or a list of them.")
    prompt_name: str | None = Field(
        None, description="The task; a model of sentence-transformers has a prompt for each."
    )
    truncate: bool = Field(False, description="Cut what is over the limit instead of refusing it.")
    truncation_direction: Literal["right", "Right"] = Field(
        "right", description="Texts are cut from the end."
    )

    def fields(self) -> dict[str, Any]:
        """Those of the request that it stands for."""
        return {"input": self.inputs, "task": self.prompt_name, "truncate": self.truncate}


class TeiEmbedRequest(TeiEmbedAllRequest):
    """The body of POST /embed."""

    normalize: bool = Field(True, description="Scale vectors to length 1.")
    dimensions: Size | None = Field(None, description="Any size up to the model's width.")

    def fields(self) -> dict[str, Any]:
        """Those of the request that it stands for."""
        more = {"normalized": self.normalize, "dimensions": self.dimensions}
        return {**super().fields(), **more}


class TeiError(ResponseModel):
    """The body of an error."""

    error: str
    """What is wrong, how much, the limit, what to do."""
    error_type: Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Empty"]
    """Its kind."""


def error_form(error: QuintetError, _request_id: str) -> tuple[int, dict[str, Any]]:
    """Its statuses: 413 for too much of anything, 429 where the queue is full, 424 for ours."""
    status, kind = error.status, "Validation"
    if isinstance(error, _TOO_MUCH):
        status = 413
    elif any(each.type == "too_short" for each in error.errors):
        status, kind = 400, "Empty"
    elif isinstance(error, NotReadyError):
        kind = "Unhealthy"
    elif isinstance(error, LimitReachedError | UnavailableError):
        status, kind = 429, "Overloaded"
    elif status >= 500:
        status, kind = 424, "Backend"
    return status, {"error": str(error), "error_type": kind}


async def answer(embeddings: EmbeddingService, body: bytes, call: Call) -> Result:
    """One request of POST /embed, from its body to that of the response.

    Raises:
        RequestError: the request is refused, and nothing of it reached the queue.
        QuintetError: the engine did not take it, or failed on it.
    """
    request = validated(TeiEmbedRequest, body)
    embedded = await embeddings.embed(request.asked(request.fields(), _WAY_OUT, _NAMES), call)
    return embedded.result(embedded.encoded)


async def answer_all(embeddings: EmbeddingService, body: bytes, call: Call) -> Result:
    """One request of POST /embed_all: for each text the vectors of all tokens that the model reads,
    the special ones and the instruction's too. Raises what `answer` does."""
    request = validated(TeiEmbedAllRequest, body)
    asked = request.asked(request.fields(), _WAY_OUT, _NAMES)
    task = embeddings.checked_task(asked)
    tokenized = await embeddings.tokenize(asked, task, RowOptions(truncate=request.truncate))
    _check_tokens(asked, tokenized.rows, embeddings.rules.max_chunks)
    rows = [_with_a_span_a_token(row) for row in tokenized.rows]
    find_space = partial(embeddings.spaces.of, task, normalized=False, pooling="none")
    pooled, space = await embeddings.compute(rows, tokenized.tokens, call, find_space)
    ends = np.cumsum([len(row) for row in rows])

    def encode() -> list[Any]:
        return [orjson.Fragment(to_json(each)) for each in np.split(pooled, ends[:-1])]

    encoded = await embeddings.in_thread("encode", encode)
    return EmbeddedInputs(asked, task, space, tokenized, encoded).result(encoded)


def _check_tokens(request: EmbeddingsRequest, rows: tuple[Row, ...], most: int) -> None:
    if (tokens := sum(map(len, rows))) > most:
        raise TokenLimitError(
            f"inputs have {tokens} tokens with special ones and the instruction's; one request may "
            f"ask for the vectors of {most}. Send fewer texts.",
            request.sent_as("input"),
        )


def _with_a_span_a_token(row: Row) -> Row:
    starts = np.arange(len(row), dtype=np.int32)
    return Row(row.token_ids, row.adapter, np.stack([starts, starts + 1], axis=1))


def more_info(service: ServiceContext) -> dict[str, Any]:
    """Its fields of GET /info that are not ours already."""
    info, settings, workers = service.info, service.settings, service.engine.workers
    return {
        "model_id": info["model"],
        "model_sha": info["revision"],
        "model_dtype": workers[0].dtype if workers else settings.dtype,
        "model_type": {"embedding": {"pooling": "mean"}},
        "max_concurrent_requests": settings.max_connections,
        "max_input_length": info["max_tokens"],
        "max_batch_tokens": workers[0].max_batch_tokens if workers else 0,
        "max_batch_requests": None,
        "max_client_batch_size": info["max_inputs"],
        "auto_truncate": False,
        "tokenization_workers": usable_cpus(),
        "sha": None,
        "docker_label": None,
    }


router = APIRouter(route_class=DirectRoute)
_EXAMPLE = {"inputs": ["Guten Morgen!"], "prompt_name": "retrieval.query"}
_REFUSED = {
    413: "Too many texts, tokens or bytes.",
    424: "A defect of the service, or the request waited too long.",
    429: "Over a limit of this caller, or the queue is full; retry after Retry-After seconds.",
    500: "",
    503: "No worker is ready; retry after as many seconds as Retry-After says.",
    504: "",
}
_VECTORS = documented(list[list[float]], "A vector for each text.", TeiError, _REFUSED)
_OF_TOKENS = documented(
    list[list[list[float]]], "For each text a vector a token.", TeiError, _REFUSED
)


@router.post("/", include_in_schema=False, dependencies=KEY_AND_LIMITS)
@router.post(
    "/embed",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=_VECTORS,
    openapi_extra=body_of("TeiEmbedRequest", _EXAMPLE),
)
async def embed(request: Request) -> Response:
    """What clients of text-embeddings-inference send; `POST /` is the same."""
    return await respond(request, partial(answer, service_of(request.app).embeddings))


@router.post(
    "/embed_all",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=_OF_TOKENS,
    openapi_extra=body_of("TeiEmbedAllRequest", _EXAMPLE),
)
async def embed_all(request: Request) -> Response:
    """A vector for each token that the model reads, those that /tokenize gives the ids of."""
    return await respond(request, partial(answer_all, service_of(request.app).embeddings))


DIALECT = Dialect(
    router,
    (TeiEmbedRequest, TeiEmbedAllRequest),
    error_form,
    re.compile(r"\w+ /embed(_all)?|POST /"),
)
