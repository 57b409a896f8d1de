"""Ollama's POST /api/embed and /api/embeddings; ollama_models.py has its other routes.

Judges: its server/routes.go, and the package ollama (_client.py, _types.py). Texts are cut at their
ends unless `truncate` is false; a request without a text is answered without a vector. The task
stands in `options`, which its clients pass on as they are.
"""

import re
import time
from functools import partial
from typing import Annotated, Any, ClassVar, Self

from fastapi import APIRouter, Request, Response
from pydantic import BeforeValidator, Field, model_validator

from app.api.admission import KEY_AND_LIMITS
from app.api.context import service_of
from app.api.direct_route import DirectRoute
from app.api.embeddings import EmbeddedInputs, EmbeddingService, Result
from app.api.field_names import check_near_misses, refusal
from app.api.openapi import body_of
from app.api.request_models import Size
from app.api.respond import respond
from app.api.response_models import ResponseModel
from app.api.spaces import Call
from app.api.validation import validated
from app.dialects import ollama_models
from app.dialects.dialect import Dialect, Texts, documented
from app.dialects.ollama_models import REFUSED, OllamaError, OllamaShowRequest, served_name
from app.errors import QuintetError, TokenLimitError
from model.tokenizer import TokenizedInputs


class OllamaRequest(OllamaShowRequest):
    """What both requests with texts have."""

    text_field: ClassVar[str]
    options: dict[str, Any] = Field(
        default_factory=dict, description="`task` is read; others are of language models."
    )
    keep_alive: float | str | None = Field(None, description="Taken and not used.")

    @model_validator(mode="after")
    def _options_are_known(self) -> Self:
        unread = {name: value for name, value in self.options.items() if name != "task"}
        check_near_misses(unread, {"task"})
        if not isinstance(task := self.options.get("task"), str | None):
            raise refusal("options", "string_type", "options.task must be a text.", task)
        self.ignore({f"options.{name}" for name, value in unread.items() if value is not None})
        return self

    def task(self) -> str | None:
        """What its options say."""
        task: str | None = self.options.get("task")
        return task


class OllamaEmbedRequest(OllamaRequest):
    """The body of POST /api/embed."""

    text_field = "input"
    input: Annotated[
        Texts | None, BeforeValidator(lambda value: None if value in ("", []) else value)
    ] = Field(None, description="A text or a list of them.")
    truncate: bool = Field(True, description="Cut what is over the limit; `false` refuses it.")
    dimensions: Size | None = Field(None, description="Any size up to the model's width.")


class OllamaEmbeddingsRequest(OllamaRequest):
    """The body of POST /api/embeddings."""

    text_field = "prompt"
    prompt: str = Field("", description="A text.")


class OllamaEmbedResponse(ResponseModel):
    """The answer of POST /api/embed."""

    model: str
    """The name that was asked for."""
    embeddings: list[list[float]]
    """A vector of length 1 for each text, in order."""
    total_duration: int
    """Nanoseconds."""
    load_duration: int
    """0: the model is always loaded."""
    prompt_eval_count: int
    """Tokens."""


class OllamaEmbeddingsResponse(ResponseModel):
    """The answer of POST /api/embeddings."""

    embedding: list[float]
    """The vector, of length 1."""


def error_form(error: QuintetError, _request_id: str) -> tuple[int, dict[str, Any]]:
    """Invalid fields are 400; what is too long begins as clients know it."""
    known = "input length exceeds maximum context length: "
    begin = known if isinstance(error, TokenLimitError) else ""
    return (400 if error.status == 422 else error.status), {"error": f"{begin}{error}"}


async def answer(embeddings: EmbeddingService, body: bytes, call: Call) -> Result:
    """One request of POST /api/embed, from its body to that of the response.

    Raises:
        RequestError: the request is refused, and nothing of it reached the queue.
        QuintetError: the engine did not take it, or failed on it.
    """
    started = time.perf_counter_ns()
    request = validated(OllamaEmbedRequest, body)
    more = {"truncate": request.truncate, "dimensions": request.dimensions}
    embedded = await _embedded(embeddings, request, {"input": request.input, **more}, call)
    return embedded.result(
        {
            "model": request.model,
            "embeddings": embedded.encoded,
            "total_duration": time.perf_counter_ns() - started,
            "load_duration": 0,
            "prompt_eval_count": embedded.tokenized.tokens,
        }
    )


async def answer_embeddings(embeddings: EmbeddingService, body: bytes, call: Call) -> Result:
    """One request of POST /api/embeddings; raises what `answer` does."""
    request = validated(OllamaEmbeddingsRequest, body)
    given = {"input": request.prompt or None, "truncate": True}
    embedded = await _embedded(embeddings, request, given, call)
    return embedded.result({"embedding": embedded.encoded[0] if embedded.encoded else []})


async def _embedded(
    embeddings: EmbeddingService, request: OllamaRequest, given: dict[str, Any], call: Call
) -> EmbeddedInputs:
    """The vectors of a request; none where it has no text, which loads a model for Ollama."""
    name = served_name(request.model, embeddings.rules.served)
    nothing = {"input": ""} if given["input"] is None else {}
    fields = {"model": name, "task": request.task(), **given, **nothing}
    names = {"input": request.text_field, "task": "options.task"}
    asked = request.asked(fields, '"truncate": true to cut at the limit', names)
    if nothing:
        task = embeddings.checked_task(asked)
        _, space = await embeddings.compute((), 0, call, partial(embeddings.spaces.of, task))
        return EmbeddedInputs(asked, task, space, TokenizedInputs((), 0, ()), [])
    return await embeddings.embed(asked, call)


router = APIRouter(route_class=DirectRoute)
_EMBED: dict[str, Any] = {"model": "quintet-mini", "options": {"task": "retrieval.query"}}


@router.post(
    "/api/embed",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=documented(OllamaEmbedResponse, "A vector for each text.", OllamaError, REFUSED),
    openapi_extra=body_of("OllamaEmbedRequest", {**_EMBED, "input": ["Guten Morgen!"]}),
)
async def embed(request: Request) -> Response:
    """What clients of Ollama send."""
    return await respond(request, partial(answer, service_of(request.app).embeddings))


@router.post(
    "/api/embeddings",
    dependencies=KEY_AND_LIMITS,
    response_class=Response,
    responses=documented(OllamaEmbeddingsResponse, "The vector.", OllamaError, REFUSED),
    openapi_extra=body_of("OllamaEmbeddingsRequest", {**_EMBED, "prompt": "Guten Morgen!"}),
)
async def embeddings(request: Request) -> Response:
    """What older clients of Ollama send."""
    return await respond(request, partial(answer_embeddings, service_of(request.app).embeddings))


DIALECT = Dialect(
    APIRouter(routes=[*router.routes, *ollama_models.router.routes]),
    (OllamaEmbedRequest, OllamaEmbeddingsRequest, OllamaShowRequest),
    error_form,
    re.compile(r"\w+ /api/[a-z]+"),
)
