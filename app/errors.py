"""The tree of what can go wrong, each with status and code; `body` renders all of them.

QuintetError
├── RequestError                   the caller's mistake, 4xx: never reaches the queue
│   ├── InvalidHttpError           400 (refusals.py)
│   ├── InvalidJsonError           400
│   │   └── NotUtf8Error           (api/encoding.py)
│   ├── TokenIdsError              400
│   ├── TooManyInputsError         400
│   ├── TooManyChunksError         400
│   ├── TokenLimitError            400
│   ├── UnauthorisedError          401 (keys.py)
│   ├── HostError, OriginError     403 (api/hosts.py)
│   ├── RouteError                 404, 405
│   ├── UnknownModelError          404
│   ├── BodyTimeoutError           408
│   ├── HeaderTimeoutError         408 (refusals.py)
│   ├── BodyTooLargeError          413
│   ├── TooManyPartsError          413 (api/parts.py)
│   ├── EncodedBodyError           415 (api/connection.py)
│   ├── InvalidFieldsError         422
│   ├── LimitReachedError          429 with Retry-After (limits.py)
│   └── HeadersTooLargeError       431
├── ClientGoneError                499, for the log only: nobody reads it
├── UnavailableError               503 with Retry-After
│   ├── BodiesFullError
│   ├── QueueFullError
│   ├── NotReadyError
│   ├── TooManyConnectionsError    (refusals.py)
│   └── WorkerLostError
├── DeadlineError                  504
└── InternalError                  500
    └── ForwardError
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from model.quoting import quoted

# SDKs give up at once when Retry-After is longer.
LONGEST_RETRY_S = 120


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field, in the form of Jina's API: `field` is a path such as body -> task."""

    field: str
    message: str
    type: str
    input: Any = None


class QuintetError(Exception):
    """What the caller is told: a sentence that says what, how much, and the limit.

    `code` is Jina's word, `openai_type` and `openai_code` are OpenAI's; `param` is the field to
    blame; `reason` is the label under which metrics count it.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_ERROR"
    openai_type: ClassVar[str] = "server_error"
    openai_code: ClassVar[str | None] = None
    reason: ClassVar[str] = ""
    param: str | None = None
    errors: tuple[FieldError, ...] = ()
    retry_after_s: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with the answer. Seconds are whole and in 1..120, as SDKs obey them."""
        if self.retry_after_s is None:
            return {}
        return {"retry-after": str(self.retry_after_s), "x-should-retry": "true"}

    def body(self, request_id: str) -> dict[str, Any]:
        """The one body of every error, which clients of either API can read.

        `detail` is a string and never on a 200: some clients fail on anything else.
        """
        body: dict[str, Any] = {
            "detail": str(self),
            "code": self.code,
            "request_id": request_id,
            "error": {
                "message": str(self),
                "type": self.openai_type,
                "param": self.param,
                "code": self.openai_code,
            },
        }
        if self.errors:
            body["errors"] = [asdict(error) for error in self.errors]
        return body


class RequestError(QuintetError):
    """The caller's mistake."""

    status = 400
    code = "INPUT_INVALID"
    openai_type = "invalid_request_error"


class InvalidJsonError(RequestError):
    """A body that is no JSON."""

    code = "INPUT_INVALID_JSON"
    openai_code = "invalid_json"


class TokenIdsError(RequestError):
    """Token ids in place of texts: they would be read with another tokenizer's table."""

    code = "INPUT_TOKEN_IDS_UNSUPPORTED"
    openai_code = "token_ids_unsupported"

    def __init__(self, field: str = "input") -> None:
        self.param = field
        super().__init__(
            f"{field} holds token ids. This model has a tokenizer of its own (XLM-RoBERTa's), so "
            "ids of another one would be read as other words: send texts. In langchain-openai set "
            "check_embedding_ctx_length=False."
        )


class TooManyInputsError(RequestError):
    """More inputs than one request may have."""

    code = "INPUT_LIMIT_EXCEEDED"
    openai_code = "too_many_inputs"

    def __init__(self, inputs: int, limit: int, field: str = "input") -> None:
        self.param = field
        super().__init__(f"{field} has {inputs} inputs; one request may have at most {limit}.")


class TooManyChunksError(RequestError):
    """Documents of more chunks than one request may have; `documents` of them were cut."""

    code = "INPUT_LIMIT_EXCEEDED"
    openai_code = "too_many_inputs"

    def __init__(self, chunks: int, documents: int, limit: int, field: str = "input") -> None:
        self.param = field
        super().__init__(
            f"the first {documents} of {field} have {chunks} chunks; one request may have at most "
            f"{limit}. Send fewer documents, or ask for larger chunks."
        )


class TokenLimitError(RequestError):
    """A text, a late-chunked document or a request with too many tokens."""

    code = "INPUT_TOKEN_LIMIT_EXCEEDED"
    openai_code = "context_length_exceeded"

    def __init__(self, sentence: str, field: str = "input") -> None:
        self.param = field
        super().__init__(sentence)


class RouteError(RequestError):
    """No such path, or not with this method."""

    code = "RESOURCE_NOT_FOUND"
    openai_code = "not_found"

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str]) -> None:
        super().__init__(sentence)
        self.status = status  # type: ignore[misc]  # 404 or 405, as the router says
        self._headers = dict(headers)

    @property
    def headers(self) -> dict[str, str]:
        """The router's: what methods there are."""
        return self._headers


class UnknownModelError(RequestError):
    """A model that is not served here."""

    status = 404
    code = "INPUT_MODEL_NOT_FOUND"
    openai_code = "model_not_found"

    def __init__(self, name: str, served: tuple[str, ...], field: str = "model") -> None:
        self.param = field
        super().__init__(
            f"the model {quoted(name)} is not served here. Send {' or '.join(served)}, or have "
            "whoever runs the service add the name to EMBED_SERVED_MODEL_NAMES."
        )


class BodyTimeoutError(RequestError):
    """A body that does not arrive."""

    status = 408
    code = "INPUT_BODY_TIMEOUT"
    openai_code = "body_timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body was not there within {seconds:g} s.")


class BodyTooLargeError(RequestError):
    """A body over the limit in bytes."""

    status = 413
    code = "INPUT_BODY_TOO_LARGE"
    openai_code = "body_too_large"

    def __init__(self, limit: int, size: int | None = None) -> None:
        seen = f"has {size} bytes" if size is not None else f"goes on past {limit} bytes"
        super().__init__(f"the body {seen}; at most {limit} are read.")


class HeadersTooLargeError(RequestError):
    """A request whose address and headers are over the limit in bytes."""

    status = 431
    code = "INPUT_HEADERS_TOO_LARGE"
    openai_code = "headers_too_large"
    reason = "headers too large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the address and headers have more than {limit} bytes.")


class InvalidFieldsError(RequestError):
    """Fields of the wrong type or out of range, each named in `errors`."""

    status = 422
    code = "VALIDATION_ERROR"
    openai_code = "invalid_value"

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__("; ".join(error.message for error in errors[:3]))
        self.errors = errors
        self.param = errors[0].field.removeprefix("body -> ").replace(" -> ", ".")


class ClientGoneError(QuintetError):
    """The caller hung up before the answer."""

    status = 499
    code = "CLIENT_CLOSED_REQUEST"


class UnavailableError(QuintetError):
    """Not now: the same request may succeed in `retry_after_s` seconds."""

    status = 503
    code = "SERVICE_UNAVAILABLE"
    openai_code = "service_unavailable"

    def __init__(self, sentence: str, retry_after_s: int = 1) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class QueueFullError(UnavailableError):
    """The queue has no room for all rows of the request."""

    def __init__(self, tokens: int, waiting: int, limit: int, retry_after_s: int) -> None:
        super().__init__(
            f"the queue is full: {waiting} of {limit} tokens wait, and this request has {tokens}; "
            f"retry in about {retry_after_s} s.",
            retry_after_s,
        )


class BodiesFullError(UnavailableError):
    """The bodies of the requests under way leave no room for this one's."""

    def __init__(self, size: int, held: int, limit: int) -> None:
        super().__init__(
            f"requests under way hold {held} of {limit} bytes, and this one has {size} more; "
            "retry in about 1 s."
        )


class NotReadyError(UnavailableError):
    """No worker has a model loaded."""


class WorkerLostError(UnavailableError):
    """The worker ended while it held the request."""


class DeadlineError(QuintetError):
    """The request waited longer than it may."""

    status = 504
    code = "SERVICE_TIMEOUT"
    openai_code = "timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request was not done within {seconds:g} s.")


class InternalError(QuintetError):
    """A defect of ours; the log has the trace under the request's id."""


class ForwardError(InternalError):
    """The model failed on a row of this request, also when it was tried alone."""

    code = "FORWARD_FAILED"
