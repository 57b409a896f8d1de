"""Tracing: one server span a request, sent to an OpenTelemetry collector.

It is on where OpenTelemetry's environment variables name a collector, and needs the extra
`tracing`. A span is made when its request has ended, of these attributes only: never of a text or a
key. OpenTelemetry's own ASGI instrumentation would send paths and queries too, and names a span
before its route is known.
"""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import Scope

from app import __version__
from app.settings import SettingsError
from app.telemetry.logs import AccessLogLine
from model.extras import how_to_install

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# Of the access log line, under quintet.*
_FIELDS = (*("task", "inputs", "tokens", "rows", "late_chunking", "service_tier", "key", "code"),)


class Tracing:
    """Makes spans, and sends them in batches."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("quintet", __version__)

    def record(self, scope: Scope, line: AccessLogLine, status: int, seconds: float) -> None:
        """The span of a request that has ended, a child of the span that its headers name."""
        from opentelemetry import propagate, trace  # noqa: PLC0415  (an extra)

        ended = time.time_ns()
        route = getattr(scope.get("route"), "path", None)
        attributes: dict[str, Any] = {
            "http.request.method": scope["method"],
            "http.response.status_code": status,
            "url.scheme": scope["scheme"],
            **({"http.route": route} if route else {}),
            **({"error.type": str(status)} if status >= 500 else {}),
            "quintet.request_id": line.request_id,
            **{f"quintet.{name}": line.fields[name] for name in _FIELDS if name in line.fields},
        }
        span = self._tracer.start_span(
            f"{scope['method']} {route}" if route else scope["method"],
            propagate.extract(Headers(scope=scope)),
            trace.SpanKind.SERVER,
            attributes,
            start_time=ended - int(seconds * 1e9),
        )
        if status >= 500:
            span.set_status(trace.StatusCode.ERROR)
        span.end(ended)

    def close(self) -> None:
        """Send what has not been sent yet."""
        self._provider.shutdown()


def tracing_of(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Tracing as the environment asks for it; None if it names no collector.

    Raises:
        SettingsError: the extra is not installed, or a variable of OpenTelemetry does not fit.
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
    defaults = {"service.name": "quintet", "service.version": __version__}
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come before these.
    detected = resources.OTELResourceDetector().detect()
    resource = resources.Resource.create(defaults).merge(detected)
    provider = trace.TracerProvider(resource=resource, shutdown_on_exit=False)
    try:
        provider.add_span_processor(BatchSpanProcessor(trace_exporter.OTLPSpanExporter()))
    except ValueError as error:
        raise SettingsError(f"a variable OTEL_* of traces does not fit: {error}") from None
    return Tracing(provider)
