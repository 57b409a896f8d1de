"""Documented: what the OpenAPI document says of a route that FastAPI cannot see in its code."""

from typing import Any

from pydantic import BaseModel

from app.api.answers import ErrorBody

JSON = "application/json"

# Headers of answers to texts; a caller whose request has none of these things gets none of them.
_NOTES = {
    "x-ignored-fields": "Names in the body that mean nothing here.",
    "x-truncated-inputs": "Indices of the inputs that were cut, where `truncate` was asked for.",
    "x-replaced-surrogates": "How many lone surrogates (halves of a character) became U+FFFD.",
}
REFUSALS = {
    400: "The body is no JSON, or over a limit that the sentence names.",
    401: "This service asks for a key, and the request has none that is known.",
    403: "The request came for another host, or out of a page of another origin.",
    404: "The model is not served here.",
    408: "The body did not arrive in time.",
    413: "The body has too many bytes or parts.",
    415: "The body is compressed.",
    422: "A field is missing, of the wrong type or out of range; `errors` names it.",
    429: "Over a limit of this caller; retry after as many seconds as Retry-After says.",
    431: "The address and headers have too many bytes.",
    500: "A defect of the service; the log has its trace under the request id.",
    503: "Not now; retry after as many seconds as Retry-After says.",
    504: "The request waited too long.",
}

# Without the engine a request waits for nothing; 503 is for want of room for its body.
NO_ENGINE = tuple(status for status in REFUSALS if status != 504)


def answers(answer: type[BaseModel], meaning: str, *refusals: int) -> dict[int | str, Any]:
    """An answer, and with which statuses the route refuses: with all of them if none is given."""
    return {200: {"model": answer, "description": meaning}, **refused(*refusals or REFUSALS)}


def refused(*statuses: int) -> dict[int | str, Any]:
    """Answers with the one error body."""
    return {status: {"model": ErrorBody, "description": REFUSALS[status]} for status in statuses}


def noted(answer: type[BaseModel], meaning: str, *refusals: int) -> dict[int | str, Any]:
    """The same of an answer to texts."""
    said = answers(answer, meaning, *refusals)
    said[200]["headers"] = {
        name: {"description": meaning, "schema": {"type": "string"}}
        for name, meaning in _NOTES.items()
    }
    return said


def body_of(name: str, example: Any, csv: str | None = None) -> dict[str, Any]:
    """A body that is read from bytes."""
    schema = {"$ref": f"#/components/schemas/{name}"}
    content: dict[str, Any] = {JSON: {"schema": schema, "example": example}}
    if csv:
        content["text/csv"] = {"schema": {"type": "string"}, "example": csv}
    return {"requestBody": {"required": True, "content": content}}
