"""What is wrong with a value that pydantic refuses: what it must be, and what it is."""

from typing import Any

from pydantic_core import ErrorDetails

from model.quoting import quoted

# How pydantic's own messages begin. Those that are raised in this service say it all themselves.
_OWN_WORDS = (
    *("Input ", "String ", "Value ", "List ", "Tuple ", "Set ", "Dictionary ", "Data "),
    *("Unable ", "Extra ", "Object "),
)
_INTEGERS = ("int_parsing", "int_type", "int_from_float", "int_parsing_size")
# By pydantic's types of errors; the numbers and names are in their contexts.
_SENTENCES = {
    **dict.fromkeys(_INTEGERS, "must be a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "must be a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "must be true or false"),
    **dict.fromkeys(("string_type", "string_unicode"), "must be a text"),
    **dict.fromkeys(("list_type", "tuple_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be an object"),
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have {min_length} or more items",
    "too_long": "must have at most {max_length} items",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have at most {max_length} characters",
}


def cause_of(error: ErrorDetails) -> str:
    """What a value must be: "must be a whole number"."""
    message, sentence = error["msg"], _SENTENCES.get(error["type"])
    if sentence and message.startswith(_OWN_WORDS):
        context = {name: _bare(value) for name, value in error.get("ctx", {}).items()}
        return sentence.format_map(context)
    return message.removeprefix("Value error, ").rstrip(".")


def message_of(error: ErrorDetails) -> str:
    """The same and what it is, unless that was said: "must be a whole number, not 'many'"."""
    cause = cause_of(error)
    return cause if error["msg"].startswith(cause) else f"{cause}, not {_written(error['input'])}"


def _bare(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else quoted(value)
