"""Names in a body -> the fields they mean: aliases, ignored names, misspellings.

A field has one name here and is also taken by the names that other APIs and SDKs have for it.
`null` is the same as absent. Names that mean nothing here are ignored, and named in a response
header; but one that looks like a field on which the vectors depend is refused: the caller would get
other vectors than it asked for. Errors name fields as they were sent.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, get_args

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.api import inputs
from app.api.misspellings import near
from app.value_errors import message_of
from model.quoting import quoted

EmbeddingType = Literal["float", "base64", "binary", "ubinary", "int8"]
EMBEDDING_TYPES = get_args(EmbeddingType)

# Field -> its other names, first the one that wins. Two names of one field must agree, but for
# embedding_type: the OpenAI SDKs add encoding_format=base64 to requests that do not ask for it.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "input": ("texts", "content"),
    "task": inputs.TASK_NAMES[1:],
    "dimensions": ("output_dimension", "output_dimensionality"),
    "embedding_type": ("encoding_type", "embedding_types", "encoding_format"),
    "normalized": ("normalize",),
    "truncate": ("truncation",),
}
_MAY_DISAGREE = {"embedding_type"}

# Cohere's, Voyage's and NVIDIA's field for what is the task here, and their values.
INPUT_TYPE = "input_type"
_TASK_OF = {
    "query": "retrieval.query",
    "search_query": "retrieval.query",
    "document": "retrieval.passage",
    "search_document": "retrieval.passage",
    "passage": "retrieval.passage",
    "classification": "classification",
    "clustering": "separation",
}

# Fields on which the vectors depend.
_AFFECTING_VECTORS = {
    *("task", "dimensions", "late_chunking", "late_chunking_overlap", "embedding_type"),
    *("normalized", "truncate", "chunking", "offsets"),
}
# Unknown names that are looked at: comparing takes microseconds, and a body may have a million.
MAX_COMPARED = 256


@dataclass(frozen=True, slots=True)
class ResolvedFields:
    """The `fields` of a body, the names they were `sent` under, and the `ignored` names."""

    fields: dict[str, Any]
    sent: dict[str, str]
    ignored: set[str] = field(default_factory=set)

    def renamed(self, error: ValidationError) -> ValidationError:
        """The same errors, of the names and values that were sent."""
        return ValidationError.from_exception_data(
            error.title,
            [self._renamed(detail) for detail in error.errors(include_url=False)],
        )

    def _renamed(self, detail: Any) -> InitErrorDetails:
        location, message, value = detail["loc"], message_of(detail), detail["input"]
        field = location[0] if location else ""
        if field in self.sent:
            name, given = self.sent[field], self.fields[field]
            message = name + message.removeprefix(field) if message.startswith(field) else message
            # A single value that was made a list of one has no index.
            location = (name, *(location[1:] if isinstance(given, list) else ()))
        return _error(location, detail["type"], message, value)


def _error(
    location: tuple[int | str, ...], kind: str, message: str, value: Any
) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError(kind, message), loc=location, input=value)


def refusal(name: str, kind: str, message: str, value: Any = None) -> ValidationError:
    """An error of one field, to be raised inside of a validator."""
    return ValidationError.from_exception_data("request", [_error((name,), kind, message, value)])


def disagreement(names: Iterable[str]) -> ValidationError:
    """The error of two names of one field that have different values."""
    first, *others = names
    sentence = f"{' and '.join([first, *others])} are names of one field and must not differ."
    return refusal(first, "conflict", sentence)


def without_nulls(body: Any) -> dict[str, Any]:
    """The fields of a body, in which null is absent.

    Raises:
        PydanticCustomError: it is no object.
    """
    if not isinstance(body, dict):
        raise PydanticCustomError("dict_type", "must be a JSON object")
    return {name: value for name, value in body.items() if value is not None}


def resolve(body: Any, model_fields: Collection[str]) -> ResolvedFields:
    """The fields of a body, for a request model that has `model_fields`.

    Raises:
        PydanticCustomError: it is no object.
        ValidationError: two names of one field differ, or a name looks like a field and is none.
    """
    fields = without_nulls(body)
    known = all_names(model_fields)
    unknown = {name: fields[name] for name in fields if name not in known}
    if taken := INPUT_TYPE in unknown and not any(name in fields for name in inputs.TASK_NAMES):
        unknown.pop(INPUT_TYPE)
    if unknown:
        check_near_misses(unknown, _candidates(model_fields, fields))
    found = ResolvedFields(*_without_aliases(fields), set(body) - known)
    if taken:
        found.fields["task"] = _task_of(fields[INPUT_TYPE])
        found.sent["task"] = INPUT_TYPE
        found.ignored.discard(INPUT_TYPE)
    return found


def all_names(model_fields: Collection[str]) -> frozenset[str]:
    """Fields under all their names; other requests' aliases too, which are no mistakes."""
    return frozenset(model_fields).union(*ALIASES.values())


def check_near_misses(unknown: Mapping[str, Any], candidates: Collection[str]) -> None:
    """
    Raises:
        ValidationError: some of these names are so like one of the candidates that it is meant.
    """
    meant_of = frozenset(candidates)
    errors = [
        _error((name,), "unknown_field", f"unknown field; did you mean {meant}?", value)
        for name, value in islice(unknown.items(), MAX_COMPARED)
        if (meant := near(name, meant_of))
    ]
    if errors:
        raise ValidationError.from_exception_data("request", errors)


def affecting_vectors(model_fields: Collection[str]) -> set[str]:
    """Those fields on which the vectors depend, under all their names."""
    found = _AFFECTING_VECTORS & {*model_fields}
    return found.union(*(ALIASES.get(each, ()) for each in found))


def _candidates(model_fields: Collection[str], fields: Mapping[str, Any]) -> set[str]:
    input_names = {"input", *ALIASES["input"]}
    return affecting_vectors(model_fields) | (set() if input_names & fields.keys() else input_names)


def _without_aliases(fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Fields by their names here, and the names they were sent under."""
    sent: dict[str, str] = {}
    for field_name, aliases in ALIASES.items():
        values = {name: fields.pop(name) for name in (field_name, *aliases) if name in fields}
        if values:
            first, *others = values.values()
            sent[field_name], fields[field_name] = next(iter(values)), first
            if any(value != first for value in others):
                _check_disagreement(field_name, values)
    return fields, sent


def _check_disagreement(field_name: str, values: Mapping[str, Any]) -> None:
    """Refuse two values of one field, or a value that would be wrong if it were the only one."""
    if field_name not in _MAY_DISAGREE:
        raise disagreement(values)
    for name, value in values.items():
        if not all(each in EMBEDDING_TYPES for each in as_list(value)):
            sentence = f"{name} must be of {', '.join(EMBEDDING_TYPES)}."
            raise refusal(name, "literal_error", sentence, value)


def as_list(value: Any) -> list[Any]:
    """A list as it is, any other value as a list of one."""
    return value if isinstance(value, list) else [value]


def _task_of(given: Any) -> str:
    if not isinstance(given, str) or given not in _TASK_OF:
        sentence = f"{INPUT_TYPE} is {quoted(given)}; it is read as a task where it is one of "
        raise refusal(INPUT_TYPE, "enum", sentence + f"{', '.join(_TASK_OF)}.", given)
    return _TASK_OF[given]
