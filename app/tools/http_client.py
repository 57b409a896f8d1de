"""The HTTP client of a running service: retries each request a limited number of times."""

import asyncio
import itertools
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import orjson

from app import retry
from app.errors import SPACE_HEADER
from app.tools.client_bodies import (
    EmbeddedChunks,
    EmbeddedTexts,
    RequestOptions,
    parse_chunks,
    parse_embeddings,
)
from app.tools.tool_errors import RefusedError, ToolError
from model.proxies import behind_proxies, proxy_refusal

# Over the service's limit of 600 s, so that it is the service that gives up, and says why.
TIMEOUT = httpx.Timeout(660.0, connect=10.0)
_REPORTED_WAIT_S = 5.0
# How often a service that is waited for is asked whether it is there.
_CONNECT_INTERVAL_S = 0.5
_NEVER_RETRIED = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is sent again, and for how many seconds a service that has not answered
    anything yet is waited for; None where the caller has no option for that."""

    retries: int = 8
    wait_s: float | None = None


def connect(
    url: str, key: str | None, connections: int, *, proxies: bool = True
) -> httpx.AsyncClient:
    """At most so many connections to the service at `url`; none is opened yet. Without `proxies`
    those of the environment are not used.

    Raises:
        ToolError: the address is none, or a proxy that the environment names cannot be used.
    """
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ToolError(f"cannot ask {url}: {error}.") from None
    limits = httpx.Limits(max_connections=connections)
    try:
        return httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=TIMEOUT,
            limits=limits,
            transport=None if proxies else httpx.AsyncHTTPTransport(limits=limits),
            trust_env=behind_proxies(url),
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise ToolError(proxy_refusal(error)) from None


class Client:
    """Sends requests to one service; `report` is given a sentence about each long wait.

    A service that has answered once is expected to come back: a request that fails is sent again.
    One that never has is more likely absent, or elsewhere, so that the first request is not sent
    again, unless the policy is to wait for the service.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        policy: RetryPolicy,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._http = http
        self._policy = policy
        self._report = report
        self._answered = False

    async def embed(
        self, texts: list[str], options: RequestOptions, space: str | None = None
    ) -> EmbeddedTexts:
        """The vectors of `texts`, by one request; in that embedding space, if one is given.

        Raises:
            RefusedError: the service refuses the request, and would again.
            ToolError: it did not answer for all retries, or not with vectors.
        """
        body, expected = options.body(texts), _expected(space)
        response = await self._send("POST", "/v1/embeddings", body, expected)
        try:
            answer = parse_embeddings(orjson.loads(response.content))
        except (KeyError, TypeError, ValueError):
            raise ToolError(f"{response.url} answers 200, but not with base64 vectors.") from None
        if len(answer.vectors) != len(texts) or not np.isfinite(answer.vectors).all():
            raise ToolError(
                f"{response.url} answers {len(texts)} texts with {len(answer.vectors)} vectors, or "
                "with some that are not finite."
            )
        return replace(answer, space=response.headers.get(SPACE_HEADER))

    async def embed_chunks(
        self, documents: list[str], options: RequestOptions, space: str | None = None
    ) -> EmbeddedChunks:
        """The chunks of `documents` with their vectors, likewise.

        Raises:
            RefusedError, ToolError: as embed.
        """
        body, expected = options.body(documents), _expected(space)
        response = await self._send("POST", "/v1/documents", body, expected)
        try:
            answer = parse_chunks(orjson.loads(response.content))
        except (KeyError, TypeError, ValueError):
            raise ToolError(f"{response.url} answers 200, but not with chunks.") from None
        if not np.isfinite(answer.vectors).all():
            raise ToolError(f"{response.url} answers with vectors that are not finite.")
        return replace(answer, space=response.headers.get(SPACE_HEADER))

    async def count_tokens(self, texts: list[str]) -> list[int]:
        """The tokens of each text by itself.

        Raises:
            RefusedError, ToolError: as embed.
        """
        body = orjson.dumps({"input": texts, "counts_only": True})
        response = await self._send("POST", "/tokenize", body)
        try:
            return [int(each["tokens"]) for each in orjson.loads(response.content)["inputs"]]
        except (KeyError, TypeError, ValueError):
            raise ToolError(f"{response.url} answers 200, but not with counts.") from None

    async def info(self) -> dict[str, Any]:
        """The answer of GET /info; empty if the service has none.

        Raises:
            RefusedError, ToolError: as embed.
        """
        try:
            body = orjson.loads((await self._send("GET", "/info")).content)
        except RefusedError as error:
            if error.status in (404, 405):
                return {}
            raise
        except orjson.JSONDecodeError:
            return {}
        return body if isinstance(body, dict) else {}

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        start, attempts = time.monotonic(), itertools.count()
        for connects in itertools.count():
            retry_after_s = 0.0
            try:
                response = await self._http.request(method, path, content=body, headers=headers)
            except _NEVER_RETRIED as error:
                raise ToolError(f"cannot ask {self._http.base_url}: {error}") from None
            except httpx.RequestError as error:
                failure = _reason(error)
                if not self._answered:
                    await self._wait_for_service(connects, start, failure.rstrip("."))
                    continue
            else:
                self._answered = True
                if response.status_code == httpx.codes.OK:
                    return response
                failure, param = _sentence(response)
                if not retry.is_retried(
                    response.status_code, response.headers.get("x-should-retry")
                ):
                    raise RefusedError(response.status_code, failure, param)
                header = response.headers.get("retry-after")
                retry_after_s = retry.retry_after_s(header, datetime.now(UTC))
            await self._wait_to_retry(next(attempts), retry_after_s, failure.rstrip("."))
        raise AssertionError("attempts have no end")

    async def _wait_for_service(self, attempt: int, start: float, failure: str) -> None:
        """Wait a moment before a service that has not answered anything yet is asked again."""
        limit_s, waited_s = self._policy.wait_s or 0.0, time.monotonic() - start
        if waited_s >= limit_s:
            within = f" within {waited_s:.0f} s" if limit_s else ""
            waiting = "" if self._policy.wait_s is None else ", and --wait 60 waits for it a minute"
            raise ToolError(
                f"nothing answers at {self._http.base_url}{within}: {failure}. Is the service "
                f"running? `quintet serve` starts it{waiting}."
            )
        if attempt == 0:
            self._report(f"waiting for {self._http.base_url}: {failure}")
        await asyncio.sleep(min(_CONNECT_INTERVAL_S, limit_s - waited_s))

    async def _wait_to_retry(self, attempt: int, retry_after_s: float, failure: str) -> None:
        if attempt >= self._policy.retries:
            tried = f"after {attempt + 1} attempts" if attempt else "at the only attempt"
            raise ToolError(f"{self._http.base_url} does not answer {tried}: {failure}.")
        jitter = random.random()  # noqa: S311  # nosec B311
        seconds = retry.wait_s(attempt, retry_after_s, jitter)
        if seconds >= _REPORTED_WAIT_S:
            self._report(f"waiting {seconds:.0f} s: {failure}")
        await asyncio.sleep(seconds)


def _expected(space: str | None) -> dict[str, str]:
    return {} if space is None else {SPACE_HEADER: space}


def _reason(error: BaseException) -> str:
    """Why there is no answer, in the operating system's words where it has any."""
    sentence, cause = str(error) or type(error).__name__, error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            # asyncio says "Connect call failed" for whatever it was.
            failed = cause.strerror.startswith("Connect call failed")
            return os.strerror(cause.errno or 0) if failed else cause.strerror
        cause = cause.__cause__ or cause.__context__
    return sentence


def _sentence(response: httpx.Response) -> tuple[str, str | None]:
    """The sentence of an error answer, in Jina's form or in OpenAI's, and the field it blames."""
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
