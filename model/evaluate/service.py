"""Service: a running service that is evaluated over HTTP. n texts, D dimensions."""

import base64
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np

from model.evaluate.errors import EvaluationError
from model.evaluate.evaluated_model import checked_sizes
from model.proxies import behind_proxies, proxy_refusal
from model.rows import Vectors

# jina-embeddings-v3's, for a service that does not say its own by GET /info.
TASKS = ("retrieval.query", "retrieval.passage", "separation", "classification", "text-matching")
TEXTS_A_REQUEST = 64
REQUESTS_AT_ONCE = 4
ATTEMPTS = 8
_LONGEST_WAIT_S = 30.0
_RETRIED = frozenset({408, 429, 502, 503, 504})


class Service:
    """A service that speaks POST /v1/embeddings with `task` and `late_chunking`.

    Reading without an adapter is asked for by leaving `task` out, which means that only where the
    service says by GET /info that it has no default task (EMBED_DEFAULT_TASK=none).
    """

    def __init__(self, url: str, key: str | None = None, sizes: Sequence[int] = ()) -> None:
        """`url` is http://host:port, with or without /v1.

        Raises:
            EvaluationError: there is no such service, or it does not answer with vectors.
        """
        self.name = url.rstrip("/").removesuffix("/v1")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._threads = ThreadPoolExecutor(REQUESTS_AT_ONCE)
        try:
            self._http = httpx.Client(
                base_url=self.name,
                timeout=660.0,
                headers=headers,
                trust_env=behind_proxies(self.name),
            )
        except httpx.InvalidURL as error:
            raise EvaluationError(f"{url} is no address: {error}.") from None
        except (ImportError, ValueError) as error:
            raise EvaluationError(proxy_refusal(error)) from None
        try:
            said = self._info()
            width = said.get("width") or self.embed(["width"], None).shape[1]
        except EvaluationError:
            self.close()
            raise
        own = said.get("matryoshka_dimensions") or [2**power for power in range(5, 13)]
        self.tasks = tuple(said.get("tasks") or TASKS)
        self.embeds_without_task = "default_task" in said and said["default_task"] is None
        self.sizes = checked_sizes(sizes, [size for size in own if size <= width], width)
        self.facts = {
            "name": said.get("model", self.name),
            "by": "service",
            "dtype": next((worker.get("dtype") for worker in said.get("workers", [])), None),
            "width": width,
        }

    def embed(self, texts: Sequence[str], task: str | None) -> Vectors:
        """Vectors (n, D) float32.

        Raises:
            EvaluationError: the service refuses a request or does not answer it.
        """
        starts = range(0, len(texts), TEXTS_A_REQUEST)
        bodies = [_body(texts[start : start + TEXTS_A_REQUEST], task) for start in starts]
        return np.concatenate(list(self._threads.map(self._ask, bodies)))

    def embed_documents(self, documents: Sequence[Sequence[str]], task: str | None) -> Vectors:
        """Vectors (n, D) float32 of all chunks, each document being one request.

        Raises:
            EvaluationError: the service refuses a request or does not answer it.
        """
        bodies = [_body(chunks, task) | {"late_chunking": True} for chunks in documents]
        return np.concatenate(list(self._threads.map(self._ask, bodies)))

    def close(self) -> None:
        """End threads and connections."""
        self._threads.shutdown()
        self._http.close()

    def _info(self) -> dict[str, Any]:
        response = self._send("GET", "/info", None)
        try:
            said = response.json() if response.is_success else {}
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}

    def _ask(self, body: dict[str, Any]) -> Vectors:
        response = self._send("POST", "/v1/embeddings", body)
        if not response.is_success:
            raise EvaluationError(
                f"{self.name} answers {response.status_code}: {response.text[:300]}"
            )
        try:
            each = sorted(response.json()["data"], key=lambda one: one["index"])
            vectors = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in each]
        except (KeyError, TypeError, ValueError):
            vectors = []
        if len(vectors) != len(body["input"]):
            raise EvaluationError(f"{self.name} does not answer with base64 vectors.")
        return np.stack(vectors)

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        """The answer, asked for again while the service is busy, as long as it asks to wait."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = self._http.request(method, path, json=body)
            except httpx.HTTPError as error:
                raise EvaluationError(
                    f"cannot ask {self.name}: {error}. Is the service running? `quintet serve` "
                    "starts it."
                ) from None
            if response.status_code not in _RETRIED or attempt == ATTEMPTS:
                break
            said = response.headers.get("retry-after", "")
            wait_s = float(said) if said.isdecimal() else 0.5 * 2.0**attempt
            time.sleep(min(wait_s, _LONGEST_WAIT_S))
        return response


def _body(texts: Sequence[str], task: str | None) -> dict[str, Any]:
    body = {"input": list(texts), "encoding_format": "base64", "truncate": True}
    return body if task is None else {**body, "task": task}
