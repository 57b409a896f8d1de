"""The journey of one embeddings request, top to bottom. Read this first.

bytes -> EmbeddingsRequest -> rows -> vectors (in the engine) -> cut, normalised, encoded -> bytes
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import ValidationError

from app.api import vectors
from app.api.invalid import invalid, invalid_field
from app.api.schemas import EmbeddingsRequest
from app.engine.client import EngineClient
from app.errors import TokenLimitError, TooManyInputsError, UnknownModelError
from model.tasks import Task, Tasks, UnknownTaskError
from model.tokenizer import TokenizedInputs, Tokenizer, TooManyTokensError


@dataclass(frozen=True, slots=True)
class Rules:
    """What a request may ask for. `served` are the names of the model, the signing one first."""

    served: tuple[str, ...]
    default_task: str | None
    max_inputs: int
    width: int


@dataclass(frozen=True, slots=True)
class EmbeddingsAnswer:
    """The response: its body, what a header says of it, and what the log line says of it."""

    body: bytes
    ignored_fields: tuple[str, ...]
    truncated_inputs: tuple[int, ...]
    task: str | None
    inputs: int
    tokens: int
    late_chunking: bool


class Embeddings:
    """Answers embeddings requests."""

    def __init__(
        self, rules: Rules, tasks: Tasks, tokenizer: Tokenizer, engine: EngineClient
    ) -> None:
        self._rules = rules
        self._tasks = tasks
        self._tokenizer = tokenizer
        self._engine = engine
        self._threads = ThreadPoolExecutor(os.cpu_count(), "tokenize")

    async def answer(self, body: bytes) -> EmbeddingsAnswer:
        """One request, from its body to the answer's.

        Raises:
            RequestError: the request is refused, and nothing of it reached the queue.
            QuintetError: the engine did not take it, or failed on it.
        """
        request = self._checked(body)
        task = self._task(request)
        tokenized = await self._tokenize(request, task)
        embedded = await self._engine.embed(tokenized.rows)
        embedded = vectors.cut(embedded, request.dimensions)
        if request.normalized:
            embedded = vectors.normalise(embedded)
        encoded = vectors.encode(embedded, request.embedding_type)
        usage = {"prompt_tokens": tokenized.tokens, "total_tokens": tokenized.tokens}
        data = [
            {"object": "embedding", "index": index, "embedding": embedding}
            for index, embedding in enumerate(encoded)
        ]
        model = request.model or self._rules.served[0]
        return EmbeddingsAnswer(
            vectors.to_json({"model": model, "object": "list", "usage": usage, "data": data}),
            request.ignored_fields,
            tokenized.truncated,
            task.name,
            len(request.input),
            tokenized.tokens,
            request.late_chunking,
        )

    def _checked(self, body: bytes) -> EmbeddingsRequest:
        try:
            request = EmbeddingsRequest.model_validate_json(body)
        except ValidationError as error:
            raise invalid(error) from None
        if request.model is not None and request.model not in self._rules.served:
            raise UnknownModelError(request.model, self._rules.served)
        if len(request.input) > self._rules.max_inputs:
            raise TooManyInputsError(len(request.input), self._rules.max_inputs)
        width = self._rules.width
        if request.dimensions is not None and request.dimensions > width:
            sentence = (
                f"dimensions is {request.dimensions}; this model's vectors have 1 to {width}."
            )
            raise invalid_field("dimensions", sentence, "less_than_equal", request.dimensions)
        return request

    def _task(self, request: EmbeddingsRequest) -> Task:
        name = self._rules.default_task if request.task is None else request.task
        try:
            return self._tasks.named(name)
        except UnknownTaskError as error:
            raise invalid_field("task", str(error), "enum", request.task) from None

    async def _tokenize(self, request: EmbeddingsRequest, task: Task) -> TokenizedInputs:
        def rows() -> TokenizedInputs:
            return self._tokenizer.rows(
                request.input,
                task,
                late_chunking=request.late_chunking,
                truncate=request.truncate,
            )

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, rows)
        except TooManyTokensError as error:
            raise TokenLimitError(str(error)) from None
