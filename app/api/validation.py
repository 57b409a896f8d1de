"""Validates bodies by pydantic's models, and turns its errors into those of this API."""

from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.api.bodies import repaired
from app.api.request_models import RequestBody, TextsRequest
from app.errors import FieldError, InvalidFieldsError, InvalidJsonError, RequestError, TokenIdsError
from app.value_errors import message_of
from model.quoting import quoted, shortened
from model.tokenizer import RowOptions, TooManyTokensError

Kind = TypeVar("Kind", bound=RequestBody)

_INVALID_JSON = "json_invalid"


def validated(kind: type[Kind], body: bytes | dict[str, Any], within: str = "") -> Kind:
    """A body, as JSON or as an object already, as a valid request of that kind.

    `within` is the field of the body that holds the object, for errors.

    Raises:
        RequestError: it is no JSON, or fields of it are invalid.
    """
    try:
        return _from_json(kind, body) if isinstance(body, bytes) else kind.model_validate(body)
    except ValidationError as error:
        raise _request_error(error, (within,) if within else ()) from None


def _from_json(kind: type[Kind], body: bytes) -> Kind:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        if not _is_invalid_json(error):
            raise
    clean, replaced = repaired(body)
    request = kind.model_validate_json(clean)
    request.replace_surrogates(replaced)
    return request


def _is_invalid_json(error: ValidationError) -> bool:
    return (
        error.error_count() == 1 and error.errors(include_input=False)[0]["type"] == _INVALID_JSON
    )


def _request_error(error: ValidationError, within: tuple[str, ...]) -> RequestError:
    """The one error that a request which does not validate is answered with."""
    details = error.errors(include_url=False)
    kinds = {detail["type"]: detail for detail in details}
    if _INVALID_JSON in kinds:
        reason = details[0]["msg"].removeprefix("Invalid JSON: ")
        return InvalidJsonError(f"the body is not valid JSON: {reason}.")
    if token_ids := kinds.get("token_ids"):
        return TokenIdsError(".".join(map(str, (*within, *token_ids["loc"]))))
    return InvalidFieldsError(tuple(_field_error(detail, within) for detail in details))


def invalid_field(name: str, message: str, kind: str, value: Any) -> InvalidFieldsError:
    """The error of one field whose range or values depend on the loaded model."""
    path = " -> ".join(["body", *name.split(".")])
    return InvalidFieldsError((FieldError(path, message, kind, _shown(value)),))


def too_long(error: TooManyTokensError, options: RowOptions, request: TextsRequest) -> str:
    """What is too long, and what to send instead."""
    field, way_out = request.sent_as("input"), request.way_out
    if error.index is not None:
        return (
            f"{field}[{error.index}] has {error.tokens} tokens; this model reads at most "
            f"{error.limit} (send {way_out})."
        )
    if options.overlap is None:
        way_out += ', or "late_chunking_overlap" for windows'
    return (
        f"late chunking reads all inputs as one document of at most {error.limit} tokens; these "
        f"{error.inputs} inputs have {error.tokens} (send {way_out})."
    )


def _field_error(detail: ErrorDetails, within: tuple[str, ...]) -> FieldError:
    location = [*within, *map(str, detail["loc"])]
    name, message = ".".join(location), message_of(detail)
    if not name and detail["type"] == "dict_type":
        message = f"the body {message}"
    if name and not message.startswith(name):
        message = f"{name}: {message[0].lower()}{message[1:]}"
    end = "" if message.endswith("?") else "."
    path = " -> ".join(["body", *location])
    return FieldError(path, message + end, detail["type"], _shown(detail["input"]))


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and value.bit_length() < 64:  # a longer one is no number to orjson
        return value
    return shortened(value) if isinstance(value, str) else quoted(value)


def check_range(
    field: str, value: int | None, least: int, most: int, takes: str = "this model takes"
) -> None:
    """
    Raises:
        InvalidFieldsError: the number is out of its range, both ends of which are in it.
    """
    if value is not None and not least <= value <= most:
        kind = "less_than_equal" if value > most else "greater_than_equal"
        sentence = f"{field} is {quoted(value)}; {takes} {least} to {most}."
        raise invalid_field(field, sentence, kind, value)
