"""Tracing: one server span a request, for whoever runs an OpenTelemetry collector.

It is on where OpenTelemetry's own variables name a collector, and needs the extra `tracing`. A span
is made when its request is over, from what the log line says; never of a text or a key.
"""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import Scope

from app import __version__
from app.settings import SettingsError
from app.telemetry.logs import RequestLine
from model.extras import how_to_install

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FACTS = ("task", "inputs", "tokens", "rows", "late_chunking", "key", "code")


class Tracing:
    """Sends spans."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("quintet", __version__)

    def record(self, scope: Scope, line: RequestLine, status: int, seconds: float) -> None:
        """The span of a request that has been answered, a child of the caller's if it says so."""
        from opentelemetry import propagate, trace  # noqa: PLC0415  (an extra)

        ended = time.time_ns()
        route = getattr(scope.get("route"), "path", None)
        span = self._tracer.start_span(
            f"{scope['method']} {route}" if route else scope["method"],
            propagate.extract(Headers(scope=scope)),
            trace.SpanKind.SERVER,
            _attributes(scope, line, route, status),
            start_time=ended - int(seconds * 1e9),
        )
        if status >= 500:
            span.set_status(trace.StatusCode.ERROR)
        span.end(ended)

    def close(self) -> None:
        """Send what has not been sent yet."""
        self._provider.shutdown()


def _attributes(scope: Scope, line: RequestLine, route: str | None, status: int) -> dict[str, Any]:
    """OpenTelemetry's names for HTTP, and the facts of the log line under `quintet.`."""
    facts = {f"quintet.{name}": line.facts[name] for name in _FACTS if name in line.facts}
    return {
        "http.request.method": scope["method"],
        "http.response.status_code": status,
        "url.scheme": scope["scheme"],
        **({"http.route": route} if route else {}),
        **({"error.type": str(status)} if status >= 500 else {}),
        "quintet.request_id": line.request_id,
        **facts,
    }


def tracing_of(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """What the environment asks for; None if it names no collector.

    Raises:
        SettingsError: the extra is not installed.
    """
    named = next((name for name in _ENDPOINTS if environment.get(name)), None)
    if named is None or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: PLC0415
        from opentelemetry.sdk import resources, trace  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise SettingsError(
            f"{named} asks for traces, which need packages that are not installed; to install "
            f"them: {how_to_install('tracing')}"
        ) from None
    own = resources.Resource.create({"service.name": "quintet", "service.version": __version__})
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come before our own names.
    resource = own.merge(resources.OTELResourceDetector().detect())
    provider = trace.TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(trace_exporter.OTLPSpanExporter()))
    return Tracing(provider)
