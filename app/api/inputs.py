"""Inputs of a request -> texts.

A text, {"text": ...}, or a list of them, mixed or not. Of an object `text` is read, and `id` where
an answer has one; other keys mean nothing, but for a task, which is of the whole request.
"""

from itertools import islice
from typing import Any

from pydantic_core import PydanticCustomError

from model.quoting import shortened

_TEXT_DOC_SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}
SCHEMA = {
    "anyOf": [
        {"type": "string"},
        _TEXT_DOC_SCHEMA,
        {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [{"type": "string"}, _TEXT_DOC_SCHEMA]},
        },
    ]
}

_READ = {"text", "id"}
# The names of a request's task, first the field's.
TASK_NAMES = ("task", "task_type")
_KINDS = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}


def texts_in(value: Any, field: str = "input") -> list[str]:
    """The texts of an input.

    Raises:
        PydanticCustomError: it is none; the sentence says where.
    """
    if not isinstance(value, list):
        return [_text(field, value)]
    if not value:
        raise PydanticCustomError(
            "too_short", "{field} is an empty list; send at least one text.", {"field": field}
        )
    if all(_is_id(each) or _is_ids(each) for each in value):
        raise PydanticCustomError("token_ids", "{field} holds token ids.", {"field": field})
    return [_text(f"{field}[{index}]", each) for index, each in enumerate(value)]


def unread_keys(value: Any, field: str = "input") -> set[str]:
    """Keys of an input's objects that mean nothing, as input.key."""
    given = value if isinstance(value, list) else [value]
    keys = set().union(*(each for each in given if isinstance(each, dict)))
    return {f"{field}.{key}" for key in keys - _READ}


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_id, value))


def _text(path: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        seen = _kind(value)
    elif "text" not in value:
        seen = f"an object with {shortened(', '.join(islice(value, 10)) or 'nothing')}"
    elif tasks := [name for name in TASK_NAMES if value.get(name) is not None]:
        raise PydanticCustomError(
            "conflict",
            "{path} has a {name} of its own; all inputs of a request have one, beside input.",
            {"path": path, "name": tasks[0]},
        )
    else:
        return _text_value(path, value["text"])
    raise PydanticCustomError(
        "string_type",
        '{path} must be a text or an object with the key "text", not {seen}.',
        {"path": path, "seen": seen},
    )


def _text_value(path: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise PydanticCustomError(
        "string_type",
        "{path}.text must be a text, not {seen}.",
        {"path": path, "seen": _kind(value)},
    )


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a number")
