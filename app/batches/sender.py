"""Sends a line's request: to the service in this process, or to one at an address."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
import orjson
from starlette.types import ASGIApp, Message

from app.access.callers import Callers
from app.api.context import on_behalf_of
from app.batches.records import Job
from app.errors import UnauthorisedError
from app.telemetry.metrics import Metrics

log = logging.getLogger("quintet.batches")

# The usage stands before the vectors.
_HEAD_BYTES = 8192
_TOKENS = re.compile(rb'"total_tokens":\s*(\d+)')
# What no line is answered: the key of this process, the name that it calls the service by, or what
# it says to its proxy is wrong. Another 403 may be a firewall's, for what is in the line.
_REFUSED_STATUSES, _REFUSED_CODES = frozenset({401, 407}), frozenset({"host_not_allowed"})
_SAID_EVERY_S = 60.0


class UnreachableError(Exception):
    """Nobody answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; `body` is JSON on one line."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def request_id(self) -> str:
        """Under which the service's log has it."""
        return self.headers.get("x-request-id", "")

    @property
    def tokens(self) -> int:
        """Tokens that were charged."""
        found = _TOKENS.search(self.body, 0, _HEAD_BYTES)
        return int(found[1]) if found and self.status == 200 else 0

    @property
    def code(self) -> str | None:
        """OpenAI's word for an error."""
        error = orjson.loads(self.body).get("error") if self.status != 200 else None
        code = error.get("code") if isinstance(error, dict) else None
        return code if isinstance(code, str) else None


class Sender(Protocol):
    """Sends requests of jobs."""

    async def send(self, job: Job, body: bytes, request_id: str) -> Answer:
        """The answer to one request.

        Raises:
            UnreachableError: there is none.
        """


class AppSender:
    """To the service in this process, as if the owner of the job had sent it: it is checked,
    counted and limited as ever."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def send(self, job: Job, body: bytes, request_id: str) -> Answer:
        """The answer to one request."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": job.endpoint,
            "raw_path": job.endpoint.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"host", b"localhost"),
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"x-request-id", request_id.encode()),
            ],
            "client": (job.address, 0),
            "state": on_behalf_of(job.owner),
        }
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        head: dict[str, Any] = {}
        parts: list[bytes] = []

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await asyncio.Future()  # it does not disconnect
            raise AssertionError("a future that nobody sets")

        async def send(message: Message) -> None:
            head.update(message) if message["type"] == "http.response.start" else parts.append(
                message.get("body", b"")
            )

        await self._app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in head["headers"]}
        return answer_of(head["status"], b"".join(parts), headers)


class UrlSender:
    """To the service at the address of an HTTP client.

    Where it does not answer, or refuses this process itself, lines wait: both are for whoever runs
    it to mend, and the log says so each minute.
    """

    def __init__(self, http: httpx.AsyncClient, callers: Callers, metrics: Metrics) -> None:
        self._http = http
        self._callers = callers
        self._metrics = metrics
        self._said = float("-inf")

    async def send(self, job: Job, body: bytes, request_id: str) -> Answer:
        """The answer to one request, which is charged there to the key of the client, and counted
        here for the owner of the job. Here it is refused, if the owner's key has been removed."""
        try:
            if job.owner:
                self._callers.known_name(job.owner)
        except UnauthorisedError as error:
            refused = orjson.dumps(error.body(request_id))
            return answer_of(error.status, refused, {"x-request-id": request_id})
        headers = {"content-type": "application/json", "x-request-id": request_id}
        try:
            response = await self._http.post(job.endpoint, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise self._failed(f"does not answer: {error!r}") from None
        answer = answer_of(response.status_code, response.content, response.headers)
        if answer.status in _REFUSED_STATUSES or answer.code in _REFUSED_CODES:
            said = response.text[:200]
            raise self._failed(f"refuses the key in QUINTET_API_KEY or this process: {said}")
        if job.owner:
            self._metrics.key_tokens.labels(job.owner).inc(answer.tokens)
        return answer

    def _failed(self, why: str) -> UnreachableError:
        if time.monotonic() - self._said > _SAID_EVERY_S:
            log.error("lines of batch jobs wait: %s %s", self._http.base_url, why)
            self._said = time.monotonic()
        return UnreachableError(why)


def answer_of(status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
    """An answer with a body of JSON on one line, whatever a proxy says."""
    if not (status == 200 and body.startswith(b"{") and b"\n" not in body):
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):  # no answer of the service
            said = body[:200].decode(errors="replace")
            found = {"error": {"code": "invalid_answer", "message": said}}
            status = 502 if status == 200 else status
        body = orjson.dumps(found)
    return Answer(status, body, headers)
