"""The OpenAPI document: what FastAPI cannot see in the code of the routes."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from app.access.callers import KEY_HEADERS
from app.api.document_models import DocumentsRequest
from app.api.hosts import PROBES
from app.api.invocations import InvocationsRequest
from app.api.octets import OCTETS, SHAPE, TOKENS
from app.api.request_models import EmbeddingsRequest, TokenizeRequest
from app.api.response_models import ErrorBody
from app.errors import SPACE_HEADER

JSON = "application/json"

# Bodies that are read from bytes, so that FastAPI has no model of them; dialects have more.
_BODIES: tuple[type[BaseModel], ...] = (
    EmbeddingsRequest,
    DocumentsRequest,
    TokenizeRequest,
    InvocationsRequest,
)
# FastAPI's model of its own 422, which no route answers with: validation.py makes them.
_UNUSED = ("HTTPValidationError", "ValidationError")
_KEYS: list[dict[str, list[str]]] = [{name: []} for name in ("key", *KEY_HEADERS)]
_DESCRIPTION = """\
Texts become vectors, under the HTTP API of OpenAI and of Jina.

`/embeddings` and `/models` are the same as under `/v1`, and so are both under `/openai/v1`; a slash
at the end changes nothing. Where the service has keys, a request brings one as
`Authorization: Bearer KEY`, `api-key: KEY`, `x-api-key: KEY` or `x-goog-api-key: KEY`.

A field that may be absent may also be null. Unknown fields are ignored and named in
`x-ignored-fields`, but for those that look like a field on which the vectors depend.

A route that embeds says in the header `x-embedding-space` which space its vectors are in. A request
may send that header, whole or up to the dot: where its vectors would be in another space, it is
answered 412.

Every error has the one body `ErrorBody`, but for the routes of Cohere's, Google's, Ollama's and
text-embeddings-inference's APIs, which have their own. A path that does not exist is answered with
404 and the `code` `RESOURCE_NOT_FOUND`, one that has no such method with 405 and
`METHOD_NOT_ALLOWED`. Every answer has an `x-request-id`, the caller's own if it sent one."""

# Headers of a response to texts, each where the request gave a reason for it.
_HEADERS = {
    "x-ignored-fields": "Names in the body that mean nothing here.",
    "x-truncated-inputs": "Indices of the inputs that were cut, where `truncate` was asked for.",
    "x-replaced-surrogates": "How many lone surrogates (halves of a character) became U+FFFD.",
}
# Routes that refuse with this status have vectors in their answers.
_OTHER_SPACE = 412
_SPACE_FOUND = "The space of the vectors: what may be compared, a dot, and what is made alike."
_OCTETS_HEADERS = {
    SHAPE: "With `Accept: application/octet-stream`, whose body is little-endian float32: how many "
    "vectors of how many dimensions, as `2, 1024`.",
    TOKENS: "Beside it: tokens that were charged.",
}
_OWN_ERROR = {"content": {JSON: {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}}
REFUSED_STATUSES = {
    400: "The body is no JSON, or over a limit that the sentence names.",
    401: "This service asks for a key, and the request has none that is known.",
    403: "The request came for another host, or out of a page of another origin.",
    404: "The model is not served here.",
    408: "The body did not arrive in time.",
    412: "The vectors would be in another space than the request expects.",
    413: "The body has too many bytes or parts.",
    415: "The body is compressed.",
    422: "A field is missing, of the wrong type or out of range; `errors` names it.",
    429: "Over a limit of this caller; retry after as many seconds as Retry-After says.",
    431: "The address and headers have too many bytes.",
    500: "A defect of the service; the log has its trace under the request id.",
    503: "Not now; retry after as many seconds as Retry-After says.",
    504: "The request waited too long.",
}
# Without the engine a request waits for nothing and has no vectors; 503 is for want of room for its
# body.
NO_ENGINE = tuple(status for status in REFUSED_STATUSES if status not in (_OTHER_SPACE, 504))


def responses(
    model: Any, description: str, *refusals: int, of_texts: bool = False
) -> dict[int | str, Any]:
    """The responses of a route: 200, and the statuses it refuses with, all of them if none is
    given. Those to texts have headers of their own."""
    answered: dict[str, Any] = {"model": model, "description": description}
    refusals = refusals or tuple(REFUSED_STATUSES)
    if of_texts:
        headers = _HEADERS | ({SPACE_HEADER: _SPACE_FOUND} if _OTHER_SPACE in refusals else {})
        answered["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}}
            for name, meaning in headers.items()
        }
    return {200: answered, **refused(*refusals)}


def with_octets(described: dict[int | str, Any]) -> dict[int | str, Any]:
    """The same responses, of which 200 may be raw bytes, too."""
    headers = {
        name: {"description": meaning, "schema": {"type": "string"}}
        for name, meaning in _OCTETS_HEADERS.items()
    }
    answered = described[200]
    octets = {OCTETS: {"schema": {"type": "string", "format": "binary"}}}
    return described | {
        200: {**answered, "content": octets, "headers": answered["headers"] | headers}
    }


def refused(*statuses: int) -> dict[int | str, Any]:
    """Responses with the one error body."""
    return {each: {"model": ErrorBody, "description": REFUSED_STATUSES[each]} for each in statuses}


def body_of(name: str, example: Any, csv: str | None = None) -> dict[str, Any]:
    """The body of a route that reads it from bytes: one of those that `describe` has."""
    schema = {"$ref": f"#/components/schemas/{name}"}
    content: dict[str, Any] = {JSON: {"schema": schema, "example": example}}
    if csv:
        content["text/csv"] = {"schema": {"type": "string"}, "example": csv}
    return {"requestBody": {"required": True, "content": content}}


def describe(app: FastAPI, more_bodies: Sequence[type[BaseModel]] = ()) -> None:
    """Make `app.openapi` complete."""
    app.description = _DESCRIPTION
    app.servers = [{"url": ".", "description": "The service that this document comes from."}]
    generate = app.openapi

    @cache
    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document["components"]["schemas"]
        for name in _UNUSED:
            schemas.pop(name, None)
        for body in (*_BODIES, *more_bodies):
            schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
            nested = schema.pop("$defs", {})
            for name, each in {body.__name__: schema, **nested}.items():
                schemas[name] = _null_is_absent(each)
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _add_refusals_of_any_route(operation["responses"], host=path not in PROBES)
                if "security" in operation:
                    operation["security"] = [*_KEYS, {}]
                if _UNUSED[0] in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _add_refusals_of_any_route(responses: dict[str, Any], *, host: bool) -> None:
    """What is refused before there is a route, in the form of the route's other errors. `host` is
    whether it answers allowed hosts only."""
    for status in (403, 431) if host else (431,):
        form = responses.get("401") or _OWN_ERROR
        described = {**form, "description": REFUSED_STATUSES[status]}
        responses.setdefault(str(status), described)


def _null_is_absent(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a body, each field of which may be null where it may be absent."""
    null = {"type": "null"}
    annotations = ("default", "description", "title")
    for name, field in schema["properties"].items():
        types = field.get("anyOf") or [{key: field[key] for key in field if key not in annotations}]
        if name not in schema.get("required", ()) and null not in types:
            kept = {key: field[key] for key in annotations if key in field}
            schema["properties"][name] = {"anyOf": [*types, null], **kept}
    return schema
