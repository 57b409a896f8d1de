"""Attaches shared objects to the application and to each request, and finds them again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from starlette.routing import BaseRoute
from starlette.types import Scope

from app.access.budget import Budget
from app.access.callers import Callers
from app.api.bodies import Bodies
from app.api.embeddings import EmbeddingService
from app.api.response_models import Model
from app.engine.client import EngineClient
from app.errors import QuintetError
from app.settings import Settings
from app.telemetry.logs import AccessLogLine
from app.telemetry.metrics import Metrics, ServiceMetrics
from app.telemetry.tracing import Tracing

_OWNER = "owner_of_batch_job"
# An error and the request's id -> status and body.
ErrorForm = Callable[[QuintetError, str], tuple[int, dict[str, Any]]]


def own_error(error: QuintetError, request_id: str) -> tuple[int, dict[str, Any]]:
    """The form of all errors, but for those on routes of other APIs."""
    return error.status, error.body(request_id)


@dataclass(slots=True)
class RequestContext:
    """What the middleware, the dependencies and the route of one request pass to each other."""

    log_line: AccessLogLine
    response_headers: dict[str, str] = field(default_factory=dict)
    """Headers of the response, whether it is an error or not."""
    key_name: str | None = None
    """The name of the caller's API key; None where the service has no keys."""
    _budget: Budget | None = None

    @property
    def budget(self) -> Budget:
        """What the request may charge to its caller's limits."""
        assert self._budget is not None, "the route needs the dependency `admitted`"
        return self._budget

    @budget.setter
    def budget(self, budget: Budget) -> None:
        self._budget = budget


@dataclass(slots=True, kw_only=True)
class EdgeContext:
    """What all requests of one HTTP process share, whatever it serves."""

    settings: Settings
    metrics: Metrics
    callers: Callers
    bodies: Bodies
    tracing: Tracing | None = None
    draining: bool = False
    """True from the signal to end on: /ready turns 503, and responses close their connections."""
    error_form_of: Callable[[str, str], ErrorForm] = lambda _method, _path: own_error
    """The form of errors, by a request's method and path."""
    paths: frozenset[str] = frozenset()
    """Those without a parameter, which an unknown path may have meant."""
    routes: tuple[BaseRoute, ...] = ()
    """All of them, for the methods that a path takes."""
    whats_here: str = "see /docs."
    """The end of the sentence about a path or method that there is not."""
    reference_page: str | None = None
    """The page of GET /docs, made on its first request."""


@dataclass(slots=True, kw_only=True)
class ServiceContext(EdgeContext):
    """The same where texts are embedded."""

    metrics: ServiceMetrics
    engine: EngineClient
    embeddings: EmbeddingService
    models: tuple[Model, ...]
    info: dict[str, Any]
    """The response of GET /info, without the workers."""
    more_info: Callable[["ServiceContext"], dict[str, Any]] = lambda _service: {}
    """What GET /info says for another API."""


def attach_service(app: FastAPI, service: EdgeContext) -> None:
    """Let `service_of` and `edge_of` find the context of an application."""
    app.state.service = service


def service_of(app: FastAPI) -> ServiceContext:
    """The context of an application that embeds."""
    service: ServiceContext = app.state.service
    return service


def edge_of(app: FastAPI) -> EdgeContext:
    """The context of any application."""
    service: EdgeContext = app.state.service
    return service


def on_behalf_of(key_name: str) -> dict[str, Any]:
    """The state of a request that this process itself makes for the owner of a batch job, who has
    been identified by that key before; empty where there are no keys. No caller can set it."""
    return {_OWNER: key_name}


def owner_in(scope: Scope) -> str | None:
    """The key of the owner of a batch job whose request this is; None for a caller's request."""
    owner: str | None = scope.get("state", {}).get(_OWNER)
    return owner


def attach_request(scope: Scope, request: RequestContext) -> None:
    """Let `request_of` find the context of a request."""
    scope.setdefault("state", {})["request"] = request


def caller_address(request: Request) -> str:
    """Where a request comes from; limits count for it where there are no keys."""
    return request.client.host if request.client else "unknown"


def request_of(request: Request) -> RequestContext:
    """The context of a request."""
    context: RequestContext = request.state.request
    return context
