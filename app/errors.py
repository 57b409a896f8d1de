"""Every error that a caller is answered with: one class each, with status and codes.

                                    status  code (Jina's)                  error.code (OpenAI's)
QuintetError                        500 INTERNAL_ERROR
├── RequestError                    400 INPUT_INVALID
│   ├── InvalidHttpError            400 INPUT_INVALID_HTTP              invalid_http
│   ├── InvalidJsonError            400 INPUT_INVALID_JSON              invalid_json
│   │   └── NotUtf8Error            400 INPUT_INVALID_JSON              invalid_json
│   ├── TokenIdsError               400 INPUT_TOKEN_IDS_UNSUPPORTED     token_ids_unsupported
│   ├── TooManyInputsError          400 INPUT_LIMIT_EXCEEDED            too_many_inputs
│   ├── ChunkLimitError             400 INPUT_LIMIT_EXCEEDED            too_many_inputs
│   ├── TokenLimitError             400 INPUT_TOKEN_LIMIT_EXCEEDED      context_length_exceeded
│   ├── UnauthorisedError           401 INPUT_INVALID
│   │   ├── MissingKeyError         401 AUTH_MISSING_API_KEY
│   │   └── WrongKeyError           401 AUTH_INVALID_API_KEY            invalid_api_key
│   ├── HostError                   403 HOST_NOT_ALLOWED                host_not_allowed
│   ├── OriginError                 403 ORIGIN_NOT_ALLOWED              origin_not_allowed
│   ├── NotFoundError               404 RESOURCE_NOT_FOUND              not_found
│   ├── UnknownModelError           404 INPUT_MODEL_NOT_FOUND           model_not_found
│   ├── MethodNotAllowedError       405 METHOD_NOT_ALLOWED              method_not_allowed
│   ├── BodyTimeoutError            408 INPUT_BODY_TIMEOUT              body_timeout
│   ├── HeaderTimeoutError          408 INPUT_HEADER_TIMEOUT            header_timeout
│   ├── ConflictError               409 RESOURCE_CONFLICT               conflict
│   ├── SpaceMismatchError          412 INPUT_SPACE_MISMATCH            space_mismatch
│   ├── BodyTooLargeError           413 INPUT_BODY_TOO_LARGE            body_too_large
│   ├── TooManyJsonTokensError      413 INPUT_BODY_TOO_LARGE            body_too_large
│   ├── EncodedBodyError            415 INPUT_ENCODING_UNSUPPORTED      unsupported_encoding
│   ├── InvalidFieldsError          422 VALIDATION_ERROR                invalid_value
│   ├── LimitReachedError           429 INPUT_INVALID                   rate_limit_exceeded
│   │   ├── RequestsPerMinuteError  429 RATE_REQUEST_LIMIT_EXCEEDED     rate_limit_exceeded
│   │   └── TokensPerMinuteError    429 RATE_TOKEN_LIMIT_EXCEEDED       rate_limit_exceeded
│   ├── TooManyJobsError            429 RATE_JOB_LIMIT_EXCEEDED         rate_limit_exceeded
│   └── HeadersTooLargeError        431 INPUT_HEADERS_TOO_LARGE         headers_too_large
├── ClientDisconnectedError         499 CLIENT_CLOSED_REQUEST
├── UnavailableError                503 SERVICE_UNAVAILABLE             service_unavailable
│   ├── BodiesFullError             503 SERVICE_UNAVAILABLE             service_unavailable
│   ├── QueueFullError              503 SERVICE_UNAVAILABLE             service_unavailable
│   │   └── FlexQueueFullError      503 SERVICE_UNAVAILABLE             service_unavailable
│   ├── NotReadyError               503 SERVICE_UNAVAILABLE             service_unavailable
│   ├── TooManyConnectionsError     503 SERVICE_UNAVAILABLE             service_unavailable
│   └── WorkerLostError             503 SERVICE_UNAVAILABLE             worker_lost
├── DeadlineError                   504 SERVICE_TIMEOUT                 timeout
├── StorageError                    507 STORAGE_FULL                    storage_full
└── InternalError                   500 INTERNAL_ERROR
    └── ForwardError                500 FORWARD_FAILED

A RequestError is the caller's mistake and never reaches the queue of the engine. Where a class has
no docstring, its sentence says what it is.
"""

import codecs
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from model.quoting import quoted

# SDKs give up at once when Retry-After is longer.
LONGEST_RETRY_S = 120
# The embedding space of an answer's vectors, and in a request the one they are expected in.
SPACE_HEADER = "x-embedding-space"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field, in the form of Jina's API: `field` is a path such as body -> task."""

    field: str
    message: str
    type: str
    input: Any = None


class QuintetError(Exception):
    """What the caller is answered: a sentence that says what, how much, and the limit.

    `code` is Jina's, `openai_type` and `openai_code` are OpenAI's; `param` is the field to blame;
    `reason` is the label under which metrics count it.
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
        """Headers of the response. Seconds are whole and in 1..120, as SDKs obey them."""
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

    status, code = 400, "INPUT_INVALID"
    openai_type = "invalid_request_error"

    def __init__(self, sentence: str, param: str | None = None) -> None:
        super().__init__(sentence)
        self.param = param


class InvalidHttpError(RequestError):
    """Bytes that are no HTTP, or HTTP that two readers could read in two ways."""

    code, openai_code = "INPUT_INVALID_HTTP", "invalid_http"
    reason = "invalid HTTP"

    def __init__(self) -> None:
        super().__init__("this is not valid HTTP/1.1.")


class InvalidJsonError(RequestError):
    """A body that is no JSON."""

    code, openai_code = "INPUT_INVALID_JSON", "invalid_json"


class NotUtf8Error(InvalidJsonError):
    def __init__(self, body: bytes, offset: int) -> None:
        sixteen = 0 in body[:2] or body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        likely = "UTF-16" if sixteen else "Latin-1 or Windows-1252"
        super().__init__(
            f"the body is not UTF-8: byte {offset}, counted from 0, is 0x{body[offset]:02x}. "
            f"Send it as UTF-8; this looks like {likely}."
        )


class TokenIdsError(RequestError):
    """Token ids in place of texts: they would be read with another tokenizer's table."""

    code, openai_code = "INPUT_TOKEN_IDS_UNSUPPORTED", "token_ids_unsupported"

    def __init__(self, field: str = "input") -> None:
        super().__init__(
            f"{field} holds token ids. This model has a tokenizer of its own (XLM-RoBERTa's), so "
            "ids of another one would be read as other words: send texts. In langchain-openai set "
            "check_embedding_ctx_length=False.",
            field,
        )


class TooManyInputsError(RequestError):
    code, openai_code = "INPUT_LIMIT_EXCEEDED", "too_many_inputs"

    def __init__(self, inputs: int, limit: int, field: str = "input") -> None:
        sentence = f"{field} has {inputs} inputs; one request may have at most {limit}."
        super().__init__(sentence, field)


class ChunkLimitError(RequestError):
    code, openai_code = "INPUT_LIMIT_EXCEEDED", "too_many_inputs"

    def __init__(self, chunks: int, documents: int, limit: int, field: str = "input") -> None:
        super().__init__(
            f"the first {documents} of {field} have {chunks} chunks; one request may have at most "
            f"{limit}. Send fewer documents, or ask for larger chunks.",
            field,
        )


class TokenLimitError(RequestError):
    """A text, a late-chunked document or a request with too many tokens."""

    code, openai_code = "INPUT_TOKEN_LIMIT_EXCEEDED", "context_length_exceeded"

    def __init__(self, sentence: str, field: str = "input") -> None:
        super().__init__(sentence, field)


class UnauthorisedError(RequestError):
    """A request without a key that is known."""

    status = 401

    @property
    def headers(self) -> dict[str, str]:
        """How to authenticate."""
        return {"www-authenticate": "Bearer"}


class MissingKeyError(UnauthorisedError):
    code = "AUTH_MISSING_API_KEY"
    reason = "no key"

    def __init__(self) -> None:
        super().__init__("this service asks for a key; send the header Authorization: Bearer KEY.")


class WrongKeyError(UnauthorisedError):
    code, openai_code = "AUTH_INVALID_API_KEY", "invalid_api_key"
    reason = "wrong key"

    def __init__(self) -> None:
        super().__init__("this key is not known here, or not any more.")


class HostError(RequestError):
    status, code, openai_code = 403, "HOST_NOT_ALLOWED", "host_not_allowed"
    reason = "foreign host"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{quoted(host)} is no name of this service. If it should be one (a proxy in front may "
            "pass it on), add it to EMBED_ALLOWED_HOSTS."
        )


class OriginError(RequestError):
    status, code, openai_code = 403, "ORIGIN_NOT_ALLOWED", "origin_not_allowed"
    reason = "foreign origin"

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"this service does not work for pages of {quoted(origin)}. If it should, add that "
            "origin to EMBED_CORS_ORIGINS."
        )


class NotFoundError(RequestError):
    """No such path."""

    status, code, openai_code = 404, "RESOURCE_NOT_FOUND", "not_found"


class UnknownModelError(RequestError):
    status, code, openai_code = 404, "INPUT_MODEL_NOT_FOUND", "model_not_found"

    def __init__(self, name: str, served: tuple[str, ...], field: str = "model") -> None:
        super().__init__(
            f"the model {quoted(name)} is not served here. Send {' or '.join(served)}, or have "
            "whoever runs the service add the name to EMBED_SERVED_MODEL_NAMES.",
            field,
        )


class MethodNotAllowedError(RequestError):
    """A path that has no such method; `allowed` are those it has, as in the header Allow."""

    status, code, openai_code = 405, "METHOD_NOT_ALLOWED", "method_not_allowed"

    def __init__(self, sentence: str, allowed: str) -> None:
        super().__init__(sentence)
        self._allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        """The methods that there are."""
        return {"allow": self._allowed}


class BodyTimeoutError(RequestError):
    status, code, openai_code = 408, "INPUT_BODY_TIMEOUT", "body_timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body was not there within {seconds:g} s.")


class HeaderTimeoutError(RequestError):
    status, code, openai_code = 408, "INPUT_HEADER_TIMEOUT", "header_timeout"
    reason = "headers too slow"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the headers were not there within {seconds:g} s.")


class ConflictError(RequestError):
    """What is asked for cannot be done in the state that a file or a batch job is in."""

    status, code, openai_code = 409, "RESOURCE_CONFLICT", "conflict"


class SpaceMismatchError(RequestError):
    """The vectors would be in another embedding space than the caller expects."""

    status, code, openai_code = 412, "INPUT_SPACE_MISMATCH", "space_mismatch"

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(
            f"{SPACE_HEADER} asks for {quoted(expected)}; vectors of this request would be in "
            f"{found}. Before the dot they agree if they may be compared, behind it if they are "
            "made alike; GET /info lists the space of each task."
        )
        self._found = found

    @property
    def headers(self) -> dict[str, str]:
        """The space that the vectors would be in."""
        return {SPACE_HEADER: self._found}


class BodyTooLargeError(RequestError):
    status, code, openai_code = 413, "INPUT_BODY_TOO_LARGE", "body_too_large"

    def __init__(self, limit: int, size: int | None = None) -> None:
        seen = f"has {size} bytes" if size is not None else f"goes on past {limit} bytes"
        super().__init__(f"the body {seen}; at most {limit} are read.")


class TooManyJsonTokensError(RequestError):
    """A body of so many JSON tokens that it would take many times its bytes of memory."""

    status, code, openai_code = 413, "INPUT_BODY_TOO_LARGE", "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the body has more than {limit} texts, brackets and commas; at most so many are read."
        )


class EncodedBodyError(RequestError):
    status, code, openai_code = 415, "INPUT_ENCODING_UNSUPPORTED", "unsupported_encoding"

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"content-encoding {quoted(encoding)} is not read; send the body as it is."
        )


class InvalidFieldsError(RequestError):
    """Fields of the wrong type or out of range, each named in `errors`."""

    status, code, openai_code = 422, "VALIDATION_ERROR", "invalid_value"

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        param = errors[0].field.removeprefix("body -> ").replace(" -> ", ".")
        super().__init__(" ".join(error.message for error in errors[:3]), param)
        self.errors = errors


class LimitReachedError(RequestError):
    """The caller has used up its limit; the same request may pass in `retry_after_s` seconds."""

    status, openai_code = 429, "rate_limit_exceeded"

    def __init__(self, asked: int, limit: int, retry_after_s: int) -> None:
        super().__init__(
            f"over the limit of {limit} {self.reason}: {asked} asked for at this moment; retry in "
            f"about {retry_after_s} s."
        )
        self.retry_after_s = retry_after_s


class RequestsPerMinuteError(LimitReachedError):
    code, openai_type = "RATE_REQUEST_LIMIT_EXCEEDED", "requests"
    reason = "requests per minute"


class TokensPerMinuteError(LimitReachedError):
    code, openai_type = "RATE_TOKEN_LIMIT_EXCEEDED", "tokens"
    reason = "tokens per minute"


class TooManyJobsError(RequestError):
    status, code, openai_code = 429, "RATE_JOB_LIMIT_EXCEEDED", "rate_limit_exceeded"

    def __init__(self, unfinished: int, limit: int) -> None:
        super().__init__(
            f"{unfinished} batch jobs of this caller have not ended, and at most {limit} are kept. "
            "Wait for one to end, or cancel one; one job may have many lines."
        )
        self.retry_after_s = LONGEST_RETRY_S


class HeadersTooLargeError(RequestError):
    status, code, openai_code = 431, "INPUT_HEADERS_TOO_LARGE", "headers_too_large"
    reason = "headers too large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the address and headers have more than {limit} bytes.")


class ClientDisconnectedError(QuintetError):
    """The caller disconnected before the answer, so only the log shows it."""

    status, code = 499, "CLIENT_CLOSED_REQUEST"


class UnavailableError(QuintetError):
    """Not now: the same request may succeed in `retry_after_s` seconds."""

    status, code, openai_code = 503, "SERVICE_UNAVAILABLE", "service_unavailable"

    def __init__(self, sentence: str, retry_after_s: int = 1) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class BodiesFullError(UnavailableError):
    reason = "bodies full"

    def __init__(self, size: int, held: int, limit: int) -> None:
        super().__init__(
            f"requests under way hold {held} of {limit} bytes, and this one has {size} more; "
            "retry in about 1 s."
        )


class QueueFullError(UnavailableError):
    reason = "queue full"
    queue: ClassVar[str] = "queue"

    def __init__(self, tokens: int, waiting: int, limit: int, retry_after_s: int) -> None:
        super().__init__(
            f"the {self.queue} is full: {waiting} of {limit} tokens wait, and this request has "
            f"{tokens}; retry in about {retry_after_s} s.",
            retry_after_s,
        )


class FlexQueueFullError(QueueFullError):
    """The queue of the flex lane, which has a bound of its own."""

    reason = "flex queue full"
    queue = "flex queue"


class NotReadyError(UnavailableError):
    """No worker has a model loaded."""

    reason = "not ready"


class TooManyConnectionsError(UnavailableError):
    reason = "too many connections"

    def __init__(self, limit: int) -> None:
        super().__init__(f"all {limit} connections that may be open are busy; retry in about 1 s.")


class WorkerLostError(UnavailableError):
    """The worker ended while it held the request."""

    openai_code = "worker_lost"


class DeadlineError(QuintetError):
    status, code, openai_code = 504, "SERVICE_TIMEOUT", "timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request was not done within {seconds:g} s.")


class StorageError(QuintetError):
    """Nothing can be written into the folder of batch jobs, or nothing more may be."""

    status, code, openai_code = 507, "STORAGE_FULL", "storage_full"


class InternalError(QuintetError):
    """A defect of the service; the log has the trace under the request's id."""


class ForwardError(InternalError):
    """The model failed on a row of this request, also when it was tried alone."""

    code = "FORWARD_FAILED"


def every_error(kind: type[QuintetError] = QuintetError) -> Iterator[type[QuintetError]]:
    """A class and all that are derived from it, in the order of the drawing."""
    yield kind
    for each in kind.__subclasses__():
        yield from every_error(each)
