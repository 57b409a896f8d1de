"""HTTP middleware: request id, timing, access log, metrics, host checks, and the JSON error body.

Plain ASGI, so that it sees 404s and failures too, and the last byte of a body. From the outside in:
RequestMiddleware, CORS where pages of other origins are let in, ErrorMiddleware, DirectRoutes, the
other routes. So a page of another origin can read errors too.
"""

import logging
import re
import time
import uuid
from collections.abc import Sequence

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.context import (
    EdgeContext,
    RequestContext,
    attach_request,
    edge_of,
    owner_in,
    request_of,
)
from app.api.direct_route import DirectRoutes
from app.api.hosts import PROBES, HostPolicy
from app.api.openapi import JSON
from app.api.paths import canonical, suggested
from app.api.service_tiers import FLEX, TIER
from app.api.vectors import to_json
from app.errors import (
    HeadersTooLargeError,
    InternalError,
    MethodNotAllowedError,
    NotFoundError,
    QuintetError,
)
from app.settings import MAX_HEAD_BYTES
from app.telemetry.logs import AccessLogLine
from app.telemetry.metrics import LANES
from model.quoting import shortened

log = logging.getLogger("quintet.request")

# A caller's name for its request goes into logs: anything else is replaced.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LINE_BYTES = len(": \r\n")
_ASSETS = "/playground/"  # some ten files for one view of the page
_UNLOGGED = {*PROBES, "/metrics"}
# How long a browser need not ask again; Chromium keeps it no longer.
_PREFLIGHT_S = 7200


def add_middleware(app: FastAPI, service: EdgeContext, routes: Sequence[BaseRoute]) -> None:
    """Put all middleware around the routes, from the inside out."""
    settings = service.settings
    app.add_exception_handler(QuintetError, error_response)
    app.add_exception_handler(HTTPException, error_response)
    app.add_middleware(DirectRoutes, routes=routes)
    app.add_middleware(ErrorMiddleware, hosts=HostPolicy(settings, service.metrics))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["*"],
            allow_private_network=True,  # a page of the internet that asks a service at home
            expose_headers=["*"],
            max_age=_PREFLIGHT_S,
        )
    app.add_middleware(RequestMiddleware, service=service)


def plain_paths(routes: Sequence[BaseRoute]) -> frozenset[str]:
    """What an unknown path may have meant: paths without a parameter, but for pages."""
    paths = {getattr(route, "path", "{") for route in routes}
    return frozenset(path for path in paths if "{" not in path) - {"/", "/docs/"}


class RequestMiddleware:
    """Gives each request an id and a context, and each response its time, log line and metrics."""

    def __init__(self, app: ASGIApp, service: EdgeContext) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, under the canonical path of its route."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        # HEAD is GET without the body, which the server leaves out.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        path = canonical(scope["path"])
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        context = RequestContext(AccessLogLine(request_id, scope["method"], _printable(path)))
        scope = {**scope, "method": method, "path": path}
        attach_request(scope, context)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(context.response_headers)
                headers["x-request-id"] = request_id
                headers["openai-processing-ms"] = str(round((time.perf_counter() - started) * 1e3))
                if self._service.draining:
                    headers["connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._record(scope, context.log_line, status or 499, time.perf_counter() - started)

    def _record(self, scope: Scope, line: AccessLogLine, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._service.metrics.requests.labels(route, str(status)).inc()
        lane = LANES[line.fields.get(TIER) == FLEX]
        self._service.metrics.request_seconds.labels(route, lane).observe(seconds)
        if line.path not in _UNLOGGED or status >= 500:
            asset = line.path.startswith(_ASSETS) and status < 400
            # Jobs have log lines of their own, and these may be many thousands.
            of_a_job = owner_in(scope) is not None and status != 500
            line.write(status, seconds, logging.DEBUG if asset or of_a_job else logging.INFO)
            if self._service.tracing:
                self._service.tracing.record(scope, line, status, seconds)


class ErrorMiddleware:
    """Refuses foreign hosts and large headers, and answers any exception with the error body."""

    def __init__(self, app: ASGIApp, hosts: HostPolicy) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, if it may pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            _check_size(scope)
            self._hosts.check(request)
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            response = await error_response(request, error)
            if started:  # half a response is out: the caller must see that it breaks off
                raise
            await response(scope, receive, send)


def _check_size(scope: Scope) -> None:
    """
    Raises:
        HeadersTooLargeError: more bytes than MAX_HEAD_BYTES came before the body.
    """
    lines = sum(len(name) + len(value) + _LINE_BYTES for name, value in scope["headers"])
    if len(scope["raw_path"]) + len(scope["query_string"]) + lines > MAX_HEAD_BYTES:
        raise HeadersTooLargeError(MAX_HEAD_BYTES)


def _printable(path: str) -> str:
    """A path for the log, on one line and not too long, whatever the caller sent."""
    return shortened(path if path.isprintable() else ascii(path))


async def error_response(request: Request, error: Exception) -> Response:
    """The response to any exception; one that is not foreseen goes into the log with its trace."""
    line = request_of(request).log_line
    if isinstance(error, HTTPException):
        error = _routing_error(request, error)
    elif not isinstance(error, QuintetError):
        log.error("request %s failed", line.request_id, exc_info=error)
        error = InternalError("internal error; the log has its trace under this request id.")
    line.fields["code"] = error.code
    form = edge_of(request.app).error_form_of(request.method, request.scope["path"])
    status, body = form(error, line.request_id)
    return Response(to_json(body), status, error.headers, JSON)


def _routing_error(request: Request, error: HTTPException) -> QuintetError:
    """The error of a path that is unknown, or known without the request's method."""
    path, edge = shortened(request.url.path), edge_of(request.app)
    if error.status_code == 405:
        allowed = _allowed(request, (error.headers or {}).get("Allow", "GET"))
        hint = "texts go to /v1/embeddings." if path == "/" else edge.whats_here
        sentence = f"{path} takes {allowed}, not {request.method}; {hint}"
        return MethodNotAllowedError(sentence, allowed)
    meant = suggested(request.url.path, edge.paths)
    here = edge.whats_here
    hint = f"did you mean {meant}? {here[0].upper()}{here[1:]}" if meant else here
    return NotFoundError(f"there is no {path}; {hint}")


def _allowed(request: Request, of_one: str) -> str:
    """The methods of all routes that have the request's path: the router says those of one."""
    methods = set(of_one.split(", "))
    for route in edge_of(request.app).routes:
        if route.matches(request.scope)[0] != Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))
