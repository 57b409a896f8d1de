"""Refusals: what a caller is told whose bytes never became a request, or whose connection is one
too many. The frame of app.api sees none of these, so all of its duties are done here: a request id,
a log line, a metric, an error body.
"""

import uuid
from http import HTTPStatus

import orjson

from app.errors import QuintetError
from app.telemetry.logs import RequestLine
from app.telemetry.metrics import Metrics

# In place of a method and a path: there are none that could be believed.
_NONE = "-"


class Refusals:
    """See the top of the file."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def answer(self, error: QuintetError, address: str | None, seconds: float) -> bytes:
        """Log and count a refusal `seconds` after its caller began; the answer's bytes."""
        request_id = uuid.uuid4().hex
        facts = {"code": error.code, "reason": error.reason, "address": address}
        RequestLine(request_id, _NONE, _NONE, facts).write(error.status, seconds)
        self._metrics.refused.labels(error.reason).inc()
        return _bytes(error, request_id)


def _bytes(error: QuintetError, request_id: str) -> bytes:
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
