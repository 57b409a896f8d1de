"""The answer to bytes that never became a request, or to a connection that is one too many.

The middleware of app.api sees none of these, so its duties are done here: a request id, a log line,
a metric, the error body.
"""

import uuid
from http import HTTPStatus

import orjson

from app.errors import QuintetError
from app.telemetry.logs import AccessLogLine
from app.telemetry.metrics import Metrics

# In place of a method and a path, which are not known.
_NONE = "-"


def refusal(error: QuintetError, address: str | None, seconds: float, metrics: Metrics) -> bytes:
    """Log and count a refusal, `seconds` after the connection or request began; the response."""
    request_id = uuid.uuid4().hex
    facts = {"code": error.code, "reason": error.reason, "address": address}
    AccessLogLine(request_id, _NONE, _NONE, facts).write(error.status, seconds)
    metrics.refused.labels(error.reason).inc()
    body, status = orjson.dumps(error.body(request_id)), HTTPStatus(error.status)
    headers = {
        **error.headers,
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-request-id": request_id,
        "connection": "close",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{lines}\r\n".encode("latin-1") + body
