"""Client: one request after the other to a running service, each sent until it is answered.

n texts, D dimensions.
"""

import asyncio
import base64
import itertools
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import orjson

from app.tools import retry
from app.tools.chunks import Chunked, chunked
from app.tools.errors import RefusedError, ToolError
from model.rows import Vectors
from model.unicode import well_formed

# Over the service's own limit of 600 s, so that it is the one to say that a request took too long.
TIMEOUT = httpx.Timeout(660.0, connect=10.0)
_LONG_WAIT_S = 5.0
# How often a service that is waited for is asked whether it is there.
_KNOCK_S = 0.5
_NEVER_RETRIED = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every text; None leaves it to the service."""

    model: str | None = None
    task: str | None = None
    dimensions: int | None = None
    late_chunking: bool = False
    late_chunking_overlap: int | None = None
    truncate: bool = False
    chunking: dict[str, Any] | None = None

    def body(self, texts: list[str]) -> bytes:
        """The request's body. Vectors come as base64, which is read without a Python float."""
        optional = {
            "model": self.model,
            "task": self.task,
            "dimensions": self.dimensions,
            "late_chunking_overlap": self.late_chunking_overlap,
            "chunking": self.chunking,
        }
        flags = {"late_chunking": self.late_chunking, "truncate": self.truncate}
        said = {name: value for name, value in {**optional, **flags}.items() if value}
        # A word of the command line that is no UTF-8 has lone surrogates.
        said = {name: well_formed(v) if isinstance(v, str) else v for name, v in said.items()}
        if self.chunking:
            said["document_embedding"] = False
        return orjson.dumps({"input": texts, "encoding_format": "base64", **said})


@dataclass(frozen=True, slots=True)
class Answer:
    """vectors (n, D) in the order of the texts, and the tokens they took."""

    vectors: Vectors
    tokens: int


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is sent again, and for how many seconds a service that has not answered
    anything yet is waited for."""

    retries: int
    wait_s: float


class Client:
    """Asks one service. `note` is told of long waits.

    A service that has answered once is believed to come back: a request that is lost is sent again.
    One that never has is more likely not there, or somewhere else, so that the first one is not,
    unless the service is to be waited for.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        question: Question,
        patience: Patience,
        note: Callable[[str], None],
    ) -> None:
        self.chunking = question.chunking is not None
        self._http = http
        self._question = question
        self._patience = patience
        self._note = note
        self._answered = False

    async def embed(self, texts: list[str]) -> Answer:
        """One request with `texts`.

        Raises:
            RefusedError: the service refuses the request, and would again.
            ToolError: it did not answer for all retries, or not with vectors.
        """
        response = await self._send("POST", "/v1/embeddings", self._question.body(texts))
        try:
            answer = _answer(orjson.loads(response.content))
        except (KeyError, TypeError, ValueError):
            raise ToolError(f"{response.url} answers 200, but not with base64 vectors.") from None
        if len(answer.vectors) != len(texts) or not np.isfinite(answer.vectors).all():
            raise ToolError(
                f"{response.url} answers {len(texts)} texts with {len(answer.vectors)} vectors, or "
                "with some that are not finite."
            )
        return answer

    async def chunks(self, texts: list[str]) -> Chunked:
        """One request with `texts` as documents.

        Raises:
            RefusedError, ToolError: as embed.
        """
        response = await self._send("POST", "/v1/documents", self._question.body(texts))
        try:
            answer = chunked(orjson.loads(response.content))
        except (KeyError, TypeError, ValueError):
            raise ToolError(f"{response.url} answers 200, but not with chunks.") from None
        if not np.isfinite(answer.vectors).all():
            raise ToolError(f"{response.url} answers with vectors that are not finite.")
        return answer

    async def info(self) -> dict[str, Any]:
        """What GET /info says; empty if the service has none.

        Raises:
            RefusedError, ToolError: as embed.
        """
        try:
            said = orjson.loads((await self._send("GET", "/info")).content)
        except RefusedError as error:
            if error.status in (404, 405):
                return {}
            raise
        except orjson.JSONDecodeError:
            return {}
        return said if isinstance(said, dict) else {}

    async def _send(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        began = time.monotonic()
        for attempt in itertools.count():
            told = 0.0
            try:
                response = await self._http.request(method, path, content=body)
            except _NEVER_RETRIED as error:
                raise ToolError(f"cannot ask {self._http.base_url}: {error}") from None
            except httpx.RequestError as error:
                failure = _reason(error)
                if not self._answered:
                    await self._wait(attempt, began, failure)
                    continue
            else:
                self._answered = True
                if response.status_code == httpx.codes.OK:
                    return response
                failure, param = _sentence(response)
                said = response.headers
                if not retry.is_retried(response.status_code, said.get("x-should-retry")):
                    raise RefusedError(response.status_code, failure, param)
                told = retry.told_s(said.get("retry-after"), datetime.now(UTC))
            await self._pause(attempt, told, failure)
        raise AssertionError("attempts have no end")

    async def _wait(self, attempt: int, began: float, failure: str) -> None:
        """A while until a service that has not answered anything yet is asked again."""
        waited, failure = time.monotonic() - began, failure.rstrip(".")
        if waited >= self._patience.wait_s:
            there = f" within {waited:.0f} s" if self._patience.wait_s else ""
            raise ToolError(
                f"nothing answers at {self._http.base_url}{there}: {failure}. Is the service "
                "running? `quintet serve` starts it, and --wait 60 waits for it a minute."
            )
        if attempt == 0:
            self._note(f"waiting for {self._http.base_url}: {failure}")
        left = self._patience.wait_s - waited
        await asyncio.sleep(min(_KNOCK_S, left))

    async def _pause(self, attempt: int, told: float, failure: str) -> None:
        failure = failure.rstrip(".")
        if attempt >= self._patience.retries:
            tried = f"after {attempt + 1} attempts" if attempt else "at the only attempt"
            raise ToolError(f"{self._http.base_url} does not answer {tried}: {failure}.")
        seconds = retry.wait_s(attempt, told, random.random())  # noqa: S311  (jitter)  # nosec B311
        if seconds >= _LONG_WAIT_S:
            self._note(f"waiting {seconds:.0f} s: {failure}")
        await asyncio.sleep(seconds)


def _reason(error: BaseException) -> str:
    """Why there is no answer, in the words of the system where there are any."""
    said, cause = str(error) or type(error).__name__, error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            # asyncio says "Connect call failed" for whatever it was.
            failed = cause.strerror.startswith("Connect call failed")
            return os.strerror(cause.errno or 0) if failed else cause.strerror
        cause = cause.__cause__ or cause.__context__
    return said


def _answer(body: Any) -> Answer:
    embeddings = sorted(body["data"], key=lambda each: each["index"])
    vectors = np.stack(
        [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in embeddings]
    )
    return Answer(vectors, int(body["usage"]["total_tokens"]))


def _sentence(response: httpx.Response) -> tuple[str, str | None]:
    """What an error answer says, and the field it blames; in Jina's form or in OpenAI's."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = None
    body = body if isinstance(body, dict) else {}
    error = body["error"] if isinstance(body.get("error"), dict) else {}
    sentence = body.get("detail") or error.get("message")
    if not isinstance(sentence, str):
        sentence = response.text[:200].strip() or response.reason_phrase
        sentence = f"{response.url} answers {response.status_code}: {sentence}"
    param = error.get("param")
    return sentence, param if isinstance(param, str) else None
