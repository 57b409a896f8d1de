"""Answers POST /v1/embeddings: validate, tokenise, embed, encode. Read this first.

bytes -> EmbeddingsRequest -> rows -> vectors (in the engine) -> cut, normalised, encoded -> bytes
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from app.api import vectors
from app.api.request_models import EmbeddingsRequest, TextsRequest, VectorsRequest
from app.api.response_headers import headers_of
from app.api.service_tiers import answered
from app.api.spaces import Call, ServedSpaces
from app.api.validation import check_range, invalid_field, too_long, validated
from app.api.work_threads import WorkThreads
from app.engine.client import EngineClient
from app.errors import SPACE_HEADER, TokenLimitError, TooManyInputsError, UnknownModelError
from app.telemetry.metrics import ServiceMetrics
from model.cpus import usable_cpus
from model.rows import Row, Vectors
from model.spaces import Space
from model.tasks import Task, Tasks, UnknownTaskError
from model.tokenizer import RowOptions, TokenizedInputs, Tokenizer, TooManyTokensError

T = TypeVar("T")

# Chunks of one request, for each input that it may have: a book in sentences.
CHUNKS_PER_INPUT = 4
# Of all texts of a request: a tenth of a millisecond, some 250 tokens.
_SHORT_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Rules:
    """What a request may ask for. `served` are the names of the model; a response to a request
    that names none has the first."""

    served: tuple[str, ...]
    default_task: str | None
    max_inputs: int
    max_tokens: int
    max_document_tokens: int
    width: int

    @property
    def max_chunks(self) -> int:
        """Chunks of all documents of a request."""
        return self.max_inputs * CHUNKS_PER_INPUT


@dataclass(frozen=True, slots=True)
class Result:
    """The response to a request with texts, and what the access log says of it."""

    body: bytes
    headers: dict[str, str]
    log_fields: dict[str, Any]
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class EmbeddedInputs:
    """A request, and for each of its inputs an encoded vector in the same space; `scales` are those
    of int8."""

    request: EmbeddingsRequest
    task: Task
    space: Space
    tokenized: TokenizedInputs
    encoded: list[Any]
    scales: list[float] | None = None

    def result(self, body: Any) -> Result:
        """The response with this body."""
        log_fields = {
            "task": self.task.name or "none",
            "inputs": len(self.request.input),
            "tokens": self.tokenized.tokens,
            "rows": len(self.tokenized.rows),
            "late_chunking": self.request.late_chunking,
        }
        headers = headers_of(self.request, self.tokenized.truncated)
        return Result(vectors.to_json(body), headers | {SPACE_HEADER: str(self.space)}, log_fields)


class EmbeddingService:
    """Answers requests with texts."""

    def __init__(
        self,
        rules: Rules,
        tasks: Tasks,
        tokenizer: Tokenizer,
        engine: EngineClient,
        metrics: ServiceMetrics,
    ) -> None:
        self.rules = rules
        self._tasks = tasks
        self.tokenizer = tokenizer
        self.spaces = ServedSpaces(engine, tasks, tokenizer)
        self._engine = engine
        self._stage_seconds = metrics.stage_seconds
        self._threads = WorkThreads(usable_cpus())
        self.kind_of: Callable[[bytes], type[EmbeddingsRequest]] = lambda _body: EmbeddingsRequest
        """What a body of POST /v1/embeddings is read as: another API may use the same route."""

    async def answer(self, body: bytes, call: Call, model: str | None = None) -> Result:
        """One request of POST /v1/embeddings, from its body to that of the response, with keys in
        the order of the hosted API. A `model` of its address comes before one of its body.

        Raises:
            RequestError: the request is refused, and nothing of it reached the queue.
            QuintetError: the engine did not take it, or failed on it.
        """
        embedded = await self.embed(request := self.parsed(body, model), call)
        tokens = embedded.tokenized.tokens
        return embedded.result(
            {
                "model": self.model_name(request),
                "object": "list",
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
                **answered(request.service_tier),
                "data": [
                    {"object": "embedding", "index": index, **item}
                    for index, item in enumerate(vectors.items(embedded.encoded, embedded.scales))
                ],
            }
        )

    def parsed(self, body: bytes, model: str | None) -> EmbeddingsRequest:
        """The request in a body. A `model` of its address comes before one of its body.

        Raises:
            RequestError: it is no valid one.
        """
        with self._stage_seconds.labels("parse").time():
            request = validated(self.kind_of(body), body)
        if model is not None:
            if request.model not in (None, model):
                request.ignore({"model"})
            request.model = model
        return request

    async def embed(self, request: EmbeddingsRequest, call: Call) -> EmbeddedInputs:
        """One valid request -> its encoded vectors; raises what `answer` does."""
        task, space, tokenized, pooled = await self.pooled(request, call)
        types = request.embedding_type
        with self._stage_seconds.labels("encode").time():
            embedded = finished(request, pooled)
            encoded, scales = vectors.encode(embedded, types), vectors.scales(embedded, types)
        return EmbeddedInputs(request, task, space, tokenized, encoded, scales)

    async def pooled(
        self, request: EmbeddingsRequest, call: Call
    ) -> tuple[Task, Space, TokenizedInputs, Vectors]:
        """One valid request -> its task, the space, its tokens and the model's vector of each
        input."""
        call.flex = request.flex
        task = self.checked_task(request)
        self._check_sizes(request)
        options = RowOptions(
            late_chunking=request.late_chunking,
            truncate=request.truncate,
            overlap=request.late_chunking_overlap,
            max_document_tokens=self.rules.max_document_tokens,
        )
        tokenized = await self.tokenize(request, task, options)
        find_space = partial(
            self.spaces.of,
            task,
            late_chunking=request.late_chunking,
            normalized=request.normalized,
        )
        computed, space = await self.compute(tokenized.rows, tokenized.tokens, call, find_space)
        return task, space, tokenized, tokenized.vectors(computed)

    def checked_task(self, request: TextsRequest, *, default: str | None = None) -> Task:
        """The task of a request for a model that is served, with not too many inputs. A request
        that names none has `default`, if the model has that task, or else the service's default.

        Raises:
            RequestError: the model, the number of inputs or the task is refused.
        """
        if request.model is not None and request.model not in self.rules.served:
            raise UnknownModelError(request.model, self.rules.served, request.sent_as("model"))
        if len(request.input) > self.rules.max_inputs:
            inputs, most = len(request.input), self.rules.max_inputs
            raise TooManyInputsError(inputs, most, request.sent_as("input"))
        default = default if default in self._tasks.names else self.rules.default_task
        try:
            return self._tasks.by_name(default if request.task is None else request.task)
        except UnknownTaskError as error:
            name = request.sent_as("task")
            raise invalid_field(name, str(error), "enum", request.task) from None

    def queue_tokens(self, *, flex: bool) -> int:
        """The most tokens that a request may have in a lane."""
        return self._engine.limits.queue_tokens(flex=flex)

    def model_name(self, request: TextsRequest) -> str:
        """The model's name in the response: the one that was asked for."""
        return request.model or self.rules.served[0]

    async def tokenize(
        self, request: TextsRequest, task: Task, options: RowOptions
    ) -> TokenizedInputs:
        """A request's texts -> rows, in a thread if they are long: handing a short one over takes
        more time than tokenising it.

        Raises:
            TokenLimitError: a text or the document is too long.
        """
        try:
            rows = partial(self.tokenizer.rows, request.input, task, options)
            if sum(map(len, request.input)) > _SHORT_CHARACTERS:
                return await self.in_thread("tokenise", rows)
            with self._stage_seconds.labels("tokenise").time():
                return rows()
        except TooManyTokensError as error:
            field = request.sent_as("input")
            raise TokenLimitError(too_long(error, options, request), field) from None

    async def in_thread(self, stage: str, work: Callable[[], T]) -> T:
        """Work that takes long for the event loop, as a stage of a request."""
        with self._stage_seconds.labels(stage).time():
            return await self._threads.run(work)

    async def compute(
        self, rows: Sequence[Row], tokens: int, call: Call, find_space: Callable[[], Space]
    ) -> tuple[Vectors, Space]:
        """The vectors of the rows' spans, for so many tokens of the caller's budget, and the space
        that they are in.

        Raises:
            SpaceMismatchError: the caller expects another space.
            QuintetError: the budget or the engine did not take it, or the engine failed on it.
        """
        async with call.budget.spend(tokens):
            space = find_space()
            call.check(space)
            if not rows:
                return np.empty((0, self.rules.width), np.float32), space
            return await self._engine.embed(rows, flex=call.flex), space

    def _check_sizes(self, request: EmbeddingsRequest) -> None:
        """Check what depends on the loaded model."""
        for field, least, most in (
            ("dimensions", 1, self.rules.width),
            ("late_chunking_overlap", 0, self.rules.max_tokens // 2),
        ):
            check_range(request.sent_as(field), getattr(request, field), least, most)


def finished(request: VectorsRequest, pooled: Vectors) -> Vectors:
    """Vectors of the model, cut and normalised as the request asks for it."""
    embedded = vectors.cut(pooled, request.dimensions)
    return vectors.normalise(embedded) if request.normalized else embedded
