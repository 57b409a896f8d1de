"""Refusals: what a caller is told whose bytes never became a request, or whose connection is one
too many. The frame of app.api sees none of these, so all of its duties are done here: a request id,
a log line, a metric, an error body.
"""

import uuid
from http import HTTPStatus

import orjson

from app.errors import QuintetError, RequestError, UnavailableError
from app.telemetry.logs import RequestLine
from app.telemetry.metrics import Metrics

# In place of a method and a path: there are none that could be believed.
_NONE = "-"


class InvalidHttpError(RequestError):
    """Bytes that are no HTTP, or HTTP that two readers could read in two ways."""

    code = "INPUT_INVALID_HTTP"
    openai_code = "invalid_http"
    reason = "invalid HTTP"

    def __init__(self) -> None:
        super().__init__("this is not valid HTTP/1.1.")


class HeaderTimeoutError(RequestError):
    """Headers that do not arrive."""

    status = 408
    code = "INPUT_HEADER_TIMEOUT"
    openai_code = "header_timeout"
    reason = "headers too slow"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the headers were not there within {seconds:g} s.")


class TooManyConnectionsError(UnavailableError):
    """Every connection that may be open has a request under way."""

    reason = "too many connections"

    def __init__(self, limit: int) -> None:
        super().__init__(f"all {limit} connections that may be open are busy; retry in about 1 s.")


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
