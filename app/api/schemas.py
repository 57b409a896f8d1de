"""The wire, inwards: the bodies of requests with texts.

A field has one name here and is also taken by the names that other APIs and SDKs have for it.
`null` is the same as absent. Unknown fields are ignored, and named in a response header.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.api import inputs

EmbeddingType = Literal["float", "base64", "binary", "ubinary"]

# Field -> its other names, first the one that wins. Two names of one field must agree, but for
# embedding_type: the OpenAI SDKs add encoding_format=base64 to requests that do not ask for it.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "input": ("texts", "content"),
    "task": inputs.TASK_NAMES[1:],
    "dimensions": ("output_dimension", "output_dimensionality"),
    "embedding_type": ("encoding_type", "encoding_format"),
    "truncate": ("truncation",),
}
_MAY_DISAGREE = {"embedding_type"}

_EMBEDDING_TYPES = get_args(EmbeddingType)
_EMBEDDING_TYPE_SCHEMA = {
    "anyOf": [
        {"type": "string", "enum": [*_EMBEDDING_TYPES]},
        {"type": "array", "minItems": 1, "items": {"enum": [*_EMBEDDING_TYPES]}},
    ]
}


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "must be a whole number, not true or false")
    return value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


# Whole numbers; whether they are in the range is for the loaded model to say, in one sentence for
# both ends.
_Size = Annotated[int, BeforeValidator(_no_bool), WithJsonSchema({"type": "integer", "minimum": 1})]
_Overlap = Annotated[
    int, BeforeValidator(_no_bool), WithJsonSchema({"type": "integer", "minimum": 0})
]


class Body(BaseModel):
    """A body, and which names in it mean nothing here."""

    model_config = ConfigDict(extra="ignore")

    _ignored: tuple[str, ...] = PrivateAttr(())

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """Names in the body that mean nothing here, sorted."""
        return self._ignored

    def ignore(self, names: Iterable[str]) -> None:
        """Add names to them."""
        self._ignored = tuple(sorted({*self._ignored, *names}))


class TextsRequest(Body):
    """What every request with texts has."""

    input: Annotated[list[str], BeforeValidator(inputs.texts_of), WithJsonSchema(inputs.SCHEMA)] = (
        Field(
            description='A text, `{"text": ...}`, or a list of them. Also taken as `texts` and '
            "`content`."
        )
    )
    model: str | None = Field(None, description="A served name; absent is the model that is here.")
    task: str | None = Field(
        None,
        description="Which adapter reads the inputs: `retrieval.query`, `retrieval.passage`, "
        "`separation`, `classification` or `text-matching`. Absent is the service's default. "
        "Also taken as `task_type`.",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _resolve(cls, body: Any, handler: Any) -> Any:
        fields = _resolved(without_nulls(body))
        request = handler(fields)
        request.ignore(set(body) - known_names(cls) | inputs.unread_keys(fields["input"]))
        return request


class EmbeddingsRequest(TextsRequest):
    """The body of POST /v1/embeddings."""

    dimensions: _Size | None = Field(
        None,
        description="Matryoshka size: vectors are cut to it and normalised again. From 1 to the "
        "model's width. Also taken as `output_dimension` and `output_dimensionality`.",
    )
    late_chunking: bool = Field(
        False,
        description="Read all inputs as one document and pool each out of the shared context.",
    )
    late_chunking_overlap: _Overlap | None = Field(
        None,
        description="With late chunking: read a document that is longer than the model reads in "
        "windows that overlap by so many tokens. 256 is a good value.",
    )
    embedding_type: Annotated[
        list[EmbeddingType],
        FailFast(),  # a million wrong words are one error, not a million
        BeforeValidator(_as_list),
        Field(min_length=1),
        WithJsonSchema(_EMBEDDING_TYPE_SCHEMA),
    ] = Field(
        ["float"],
        description="How vectors are written: `float`; `base64` of little-endian float32; "
        "`binary` and `ubinary` have a sign bit a dimension, eight to a number. With a list of "
        "several, `embedding` is an object with a key for each. Also taken as `encoding_type` and "
        "`encoding_format`.",
    )
    normalized: bool = Field(True, description="Scale vectors to length 1.")
    truncate: bool = Field(
        False,
        description="Cut what is over the token limit, from the end, instead of refusing it. "
        "Also taken as `truncation`.",
    )
    user: str | None = Field(None, description="Taken and not used.")

    @model_validator(mode="after")
    def _overlap_needs_late_chunking(self) -> "EmbeddingsRequest":
        if self.late_chunking_overlap is not None and not self.late_chunking:
            raise PydanticCustomError(
                "conflict", "late_chunking_overlap needs late_chunking to be true."
            )
        return self


class TokenizeRequest(TextsRequest):
    """The body of POST /tokenize."""

    counts_only: bool = Field(False, description="Leave the ids out of the answer.")


def without_nulls(body: Any) -> dict[str, Any]:
    """The fields of a body, in which null is absent.

    Raises:
        PydanticCustomError: it is no object.
    """
    if not isinstance(body, dict):
        raise PydanticCustomError("dict_type", "the body must be a JSON object")
    return {name: value for name, value in body.items() if value is not None}


@cache
def known_names(kind: type[TextsRequest]) -> frozenset[str]:
    """The fields of a body with texts, under all their names."""
    return frozenset(kind.model_fields).union(*ALIASES.values())


def _resolved(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields with aliases under the field's own name."""
    for own, others in ALIASES.items():
        said = {name: fields.pop(name) for name in (own, *others) if name in fields}
        values = list(said.values())
        if any(value != values[0] for value in values[1:]):
            _check_disagreement(own, said)
        if values:
            fields[own] = values[0]
    return fields


def _check_disagreement(own: str, said: Mapping[str, Any]) -> None:
    """Refuse two values of one field, or a value that would be wrong if it were the only one."""
    if own not in _MAY_DISAGREE:
        raise PydanticCustomError(
            "conflict",
            "{names} are names of one field and must not differ.",
            {"names": " and ".join(said)},
        )
    for name, value in said.items():
        if not all(each in _EMBEDDING_TYPES for each in _as_list(value)):
            raise PydanticCustomError(
                "literal_error",
                "{name} must be of {types}.",
                {"name": name, "types": ", ".join(_EMBEDDING_TYPES)},
            )
