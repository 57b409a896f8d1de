"""Frame: what is around every answer: a request id, a time, a log line, a metric, an error body.

Plain ASGI middlewares, so that they see 404s and failures too and can watch the body's last byte.
From the outside in: Frame, CORS where pages of other origins are let in, Refused, the routes. So
such a page can read errors too.
"""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.addresses import canonical, suggested
from app.api.context import RequestContext, ServiceContext, attach_request, request_of
from app.api.documented import JSON
from app.api.hosts import PROBES, Hosts
from app.api.routes import router
from app.api.vectors import to_json
from app.errors import (
    HeadersTooLargeError,
    InternalError,
    MethodNotAllowedError,
    NotFoundError,
    QuintetError,
    RequestError,
)
from app.settings import MAX_HEAD_BYTES
from app.telemetry.logs import RequestLine
from model.quoting import shortened

log = logging.getLogger("quintet.request")

# What a caller may name its request: anything else is replaced, since it goes into logs.
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LINE_BYTES = len(": \r\n")
_ASSETS = "/playground/"  # some ten files for one view of the page
_QUIET = {*PROBES, "/metrics"}
# What an address that does not exist may have meant.
_PATHS = {path for route in router.routes if "{" not in (path := getattr(route, "path", "{"))} - {
    "/",
    "/docs/",
}


class Frame:
    """The request id, the time, the log line and the metric; and one path for each route."""

    def __init__(self, app: ASGIApp, service: ServiceContext) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and see to its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        asked_method = scope["method"]
        # HEAD is GET without the body, which the server leaves out.
        method = "GET" if asked_method == "HEAD" else asked_method
        scope = {**scope, "method": method, "path": canonical(scope["path"])}
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if _SANE_ID.fullmatch(asked) else uuid.uuid4().hex
        line = RequestLine(request_id, asked_method, _printable(scope["path"]))
        context = RequestContext(line)
        attach_request(scope, context)
        status = 0

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(context.response_headers)
                headers["x-request-id"] = request_id
                headers["openai-processing-ms"] = str(round((time.perf_counter() - began) * 1e3))
                if self._service.draining:
                    headers["connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        finally:
            self._enter(line, scope, status or 499, time.perf_counter() - began)

    def _enter(self, line: RequestLine, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._service.metrics.requests.labels(route, str(status)).inc()
        self._service.metrics.request_seconds.labels(route).observe(seconds)
        if line.path not in _QUIET or status >= 500:
            asset = line.path.startswith(_ASSETS) and status < 400
            line.write(status, seconds, logging.DEBUG if asset else logging.INFO)
            if self._service.tracing:
                self._service.tracing.record(scope, line, status, seconds)


class Refused:
    """Who may not ask is refused, and any exception becomes the one error body."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, if it may pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        started = False

        async def send_seen(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            _check_size(scope)
            self._hosts.check(request)
            await self._app(scope, receive, send_seen)
        except Exception as error:
            answer = await answer_error(request, error)
            if started:  # half an answer is out: the caller must see that it breaks off
                raise
            await answer(scope, receive, send)


def _check_size(scope: Scope) -> None:
    """
    Raises:
        HeadersTooLargeError: more bytes than MAX_HEAD_BYTES came before the body.
    """
    lines = sum(len(name) + len(value) + _LINE_BYTES for name, value in scope["headers"])
    if len(scope["raw_path"]) + len(scope["query_string"]) + lines > MAX_HEAD_BYTES:
        raise HeadersTooLargeError(MAX_HEAD_BYTES)


def _printable(path: str) -> str:
    """A path as it may stand in a line of a log, where a caller's line break must not begin another
    and a caller's 30 KB must not be kept."""
    return shortened(path if path.isprintable() else ascii(path))


async def answer_error(request: Request, error: Exception) -> Response:
    """Any exception -> the one error body."""
    own = _own(request, error)
    line = request_of(request).log_line
    line.facts["code"] = own.code
    body = own.body(line.request_id)
    return Response(to_json(body), own.status, own.headers, JSON)


def _route_error(request: Request, error: HTTPException) -> RequestError:
    path = shortened(request.url.path)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "GET").replace("GET", "GET, HEAD")
        other = "texts go to /v1/embeddings." if path == "/" else "see /docs."
        sentence = f"{path} takes {allowed}, not {request.method}; {other}"
        return MethodNotAllowedError(sentence, allowed)
    meant = suggested(request.url.path, _PATHS)
    hint = f"did you mean {meant}? See" if meant else "see"
    return NotFoundError(f"there is no {path}; {hint} /docs.")


def _own(request: Request, error: Exception) -> QuintetError:
    if isinstance(error, QuintetError):
        return error
    if isinstance(error, HTTPException):
        return _route_error(request, error)
    log.error("request %s failed", request_of(request).log_line.request_id, exc_info=error)
    return InternalError("internal error; the log has its trace under this request id.")
