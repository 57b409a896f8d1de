"""A running service that `quintet evaluate` measures. n texts, D dimensions."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np

from app.tools.client_bodies import EmbeddedTexts, RequestOptions
from app.tools.http_client import Client, RetryPolicy, connect
from app.tools.in_order import map_in_order
from app.tools.service import api_key, base_url
from app.tools.tool_errors import RefusedError, ToolError
from model.evaluate.errors import EvaluationError
from model.evaluate.evaluated_model import checked_sizes
from model.rows import Vectors

T = TypeVar("T")

# jina-embeddings-v3's, for a service whose GET /info does not name its tasks.
TASKS = ("retrieval.query", "retrieval.passage", "separation", "classification", "text-matching")
_TEXTS_PER_REQUEST = 64
_CONCURRENCY = 4


class EvaluatedService:
    """Implements model.evaluate.evaluated_model.EvaluatedModel by POST /v1/embeddings.

    embed(task=None) omits `task`, which selects the base model only if GET /info reports no default
    task (EMBED_DEFAULT_TASK=none): see `embeds_without_task`.
    """

    def __init__(self, url: str, sizes: Sequence[int] = ()) -> None:
        """`url` is http://host:port, with or without /v1.

        Raises:
            EvaluationError: there is no such service, or it does not answer with vectors.
        """
        self._runner = asyncio.Runner()
        try:
            self.name = base_url(url)
            self._http = connect(self.name, api_key(), _CONCURRENCY)
        except ToolError as error:
            raise EvaluationError(str(error)) from None
        self._client = Client(self._http, RetryPolicy())
        try:
            info = self._run(self._client.info())
            width = info.get("width") or self.embed(["width"], None).shape[1]
        except EvaluationError:
            self.close()
            raise
        matryoshka = info.get("matryoshka_dimensions") or [2**power for power in range(5, 13)]
        self.tasks = tuple(info.get("tasks") or TASKS)
        self.embeds_without_task = "default_task" in info and info["default_task"] is None
        self.sizes = checked_sizes(sizes, [size for size in matryoshka if size <= width], width)
        self.facts = {
            "name": info.get("model", self.name),
            "by": "service",
            "dtype": next((worker.get("dtype") for worker in info.get("workers", [])), None),
            "width": width,
        }

    def embed(self, texts: Sequence[str], task: str | None) -> Vectors:
        """Vectors (n, D) float32.

        Raises:
            EvaluationError: the service refuses a request or does not answer it.
        """
        starts = range(0, len(texts), _TEXTS_PER_REQUEST)
        parts = [texts[start : start + _TEXTS_PER_REQUEST] for start in starts]
        return self._run(self._embed(parts, RequestOptions(task=task, truncate=True)))

    def embed_documents(self, documents: Sequence[Sequence[str]], task: str | None) -> Vectors:
        """Vectors (n, D) float32 of all chunks, each document being one request.

        Raises:
            EvaluationError: the service refuses a request or does not answer it.
        """
        options = RequestOptions(task=task, late_chunking=True, truncate=True)
        return self._run(self._embed(documents, options))

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._http.aclose())
        self._runner.close()

    async def _embed(self, requests: Sequence[Sequence[str]], options: RequestOptions) -> Vectors:
        parts: list[Vectors] = []

        async def embed(texts: Sequence[str]) -> EmbeddedTexts:
            return await self._client.embed([*texts], options)

        async def store(answer: EmbeddedTexts) -> None:
            parts.append(answer.vectors)

        await map_in_order(iter(requests), embed, store, _CONCURRENCY)
        return np.concatenate(parts)

    def _run(self, asking: Coroutine[Any, Any, T]) -> T:
        try:
            return self._runner.run(asking)
        except RefusedError as error:
            raise EvaluationError(f"{self.name} answers {error.status}: {error}") from None
        except ToolError as error:
            raise EvaluationError(str(error)) from None
