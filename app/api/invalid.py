"""Invalid: pydantic's complaints -> this API's errors."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.errors import FieldError, InvalidFieldsError, InvalidJsonError, RequestError, TokenIdsError
from model.wording import quoted, shortened

Body = TypeVar("Body", bound=BaseModel)


def validated(kind: type[Body], body: bytes | dict[str, Any]) -> Body:
    """A body, as JSON or as an object already, as a valid request of that kind.

    Raises:
        RequestError: it is no JSON, or fields of it are invalid.
    """
    try:
        if isinstance(body, bytes):
            return kind.model_validate_json(body)
        return kind.model_validate(body)
    except ValidationError as error:
        raise _invalid(error) from None


def _invalid(error: ValidationError) -> RequestError:
    """The one error that a request which does not validate is answered with."""
    details = error.errors(include_url=False, include_context=False)
    kinds = {detail["type"] for detail in details}
    if "json_invalid" in kinds:
        return InvalidJsonError(f"the body is not valid JSON: {details[0]['msg']}.")
    if "token_ids" in kinds:
        return TokenIdsError()
    return InvalidFieldsError(tuple(_field_error(detail) for detail in details))


def invalid_field(name: str, message: str, kind: str, value: Any) -> InvalidFieldsError:
    """The same for a field that only the loaded model can judge."""
    return InvalidFieldsError((FieldError(f"body -> {name}", message, kind, _shown(value)),))


def _field_error(detail: ErrorDetails) -> FieldError:
    path = " -> ".join(["body", *map(str, detail["loc"])])
    name = ".".join(map(str, detail["loc"]))
    message = detail["msg"].rstrip(".")
    if name and not message.startswith(name):
        message = f"{name}: {message[0].lower()}{message[1:]}"
    return FieldError(path, message + ".", detail["type"], _shown(detail["input"]))


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and value.bit_length() < 64:  # a longer one is no number to orjson
        return value
    return shortened(value) if isinstance(value, str) else quoted(value)
