"""Answers POST /v1/embeddings: validate, tokenise, embed, encode. Read this first.

bytes -> EmbeddingsRequest -> rows -> vectors (in the engine) -> cut, normalised, encoded -> bytes
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from app.access.budget import Budget
from app.api import vectors
from app.api.request_models import EmbeddingsRequest, TextsRequest, VectorsRequest
from app.api.response_headers import headers_of
from app.api.validation import invalid_field, validated
from app.engine.client import EngineClient
from app.errors import TokenLimitError, TooManyInputsError, UnknownModelError
from app.telemetry.metrics import Metrics
from model.cpus import usable_cpus
from model.quoting import quoted
from model.rows import Row, Vectors
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


@dataclass(frozen=True, slots=True)
class EmbeddedInputs:
    """A request, and for each of its inputs an encoded vector."""

    request: EmbeddingsRequest
    task: Task
    tokenized: TokenizedInputs
    encoded: list[Any]

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
        return Result(vectors.to_json(body), headers, log_fields)


class EmbeddingService:
    """Answers requests with texts."""

    def __init__(
        self,
        rules: Rules,
        tasks: Tasks,
        tokenizer: Tokenizer,
        engine: EngineClient,
        metrics: Metrics,
    ) -> None:
        self.rules = rules
        self._tasks = tasks
        self.tokenizer = tokenizer
        self._engine = engine
        self._stage_seconds = metrics.stage_seconds
        self._threads = ThreadPoolExecutor(usable_cpus(), "tokenize")
        self.kind_of: Callable[[bytes], type[EmbeddingsRequest]] = lambda _body: EmbeddingsRequest
        """What a body of POST /v1/embeddings is read as: another API may use the same route."""

    async def answer(self, body: bytes, budget: Budget, model: str | None = None) -> Result:
        """One request of POST /v1/embeddings, from its body to that of the response, with keys in
        the order of the hosted API. A `model` of its address comes before one of its body.

        Raises:
            RequestError: the request is refused, and nothing of it reached the queue.
            QuintetError: the engine did not take it, or failed on it.
        """
        with self._stage_seconds.labels("parse").time():
            request = validated(self.kind_of(body), body)
        if model is not None:
            if request.model not in (None, model):
                request.ignore({"model"})
            request.model = model
        embedded = await self.embed(request, budget)
        tokens = embedded.tokenized.tokens
        return embedded.result(
            {
                "model": self.model_name(request),
                "object": "list",
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
                "data": [
                    {"object": "embedding", "index": index, "embedding": vector}
                    for index, vector in enumerate(embedded.encoded)
                ],
            }
        )

    async def embed(self, request: EmbeddingsRequest, budget: Budget) -> EmbeddedInputs:
        """One valid request -> its encoded vectors; raises what `answer` does."""
        task = self.checked_task(request)
        self._check_sizes(request)
        options = RowOptions(
            late_chunking=request.late_chunking,
            truncate=request.truncate,
            overlap=request.late_chunking_overlap,
            max_document_tokens=self.rules.max_document_tokens,
        )
        tokenized = await self.tokenize(request, task, options)
        pooled = await self.compute(tokenized.rows, tokenized.tokens, budget)
        with self._stage_seconds.labels("encode").time():
            encoded = encoded_for(request, tokenized.vectors(pooled))
        return EmbeddedInputs(request, task, tokenized, encoded)

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
            raise TokenLimitError(_too_long(error, options, request), field) from None

    async def in_thread(self, stage: str, work: Callable[[], T]) -> T:
        """Work that takes long for the event loop, as a stage of a request."""
        loop = asyncio.get_running_loop()
        with self._stage_seconds.labels(stage).time():
            return await loop.run_in_executor(self._threads, work)

    async def compute(self, rows: Sequence[Row], tokens: int, budget: Budget) -> Vectors:
        """The vectors of the rows' spans, for so many tokens of the caller's budget.

        Raises:
            QuintetError: the budget or the engine did not take it, or the engine failed on it.
        """
        async with budget.spend(tokens):
            if not rows:
                return np.empty((0, self.rules.width), np.float32)
            return await self._engine.embed(rows)

    def _check_sizes(self, request: EmbeddingsRequest) -> None:
        """Check what depends on the loaded model."""
        for field, least, most in (
            ("dimensions", 1, self.rules.width),
            ("late_chunking_overlap", 0, self.rules.max_tokens // 2),
        ):
            check_range(request.sent_as(field), getattr(request, field), least, most)


def encoded_for(request: VectorsRequest, pooled: Vectors) -> list[Any]:
    """Vectors of the model as the request asks for them."""
    embedded = vectors.cut(pooled, request.dimensions)
    if request.normalized:
        embedded = vectors.normalise(embedded)
    return vectors.encode(embedded, request.embedding_type)


def check_range(
    field: str, value: int | None, least: int, most: int, takes: str = "this model takes"
) -> None:
    """
    Raises:
        InvalidFieldsError: the number is out of its range, both ends of which are in it.
    """
    if value is not None and not least <= value <= most:
        kind = "less_than_equal" if value > most else "greater_than_equal"
        sentence = f"{field} is {quoted(value)}; {takes} {least} to {most}."
        raise invalid_field(field, sentence, kind, value)


def _too_long(error: TooManyTokensError, options: RowOptions, request: TextsRequest) -> str:
    """What is too long, and what to send instead."""
    field, way_out = request.sent_as("input"), request.way_out
    if error.index is not None:
        return (
            f"{field}[{error.index}] has {error.tokens} tokens; this model reads at most "
            f"{error.limit} (send {way_out})."
        )
    if options.overlap is None:
        way_out += ', or "late_chunking_overlap" for windows'
    return (
        f"late chunking reads all inputs as one document of at most {error.limit} tokens; these "
        f"{error.inputs} inputs have {error.tokens} (send {way_out})."
    )
