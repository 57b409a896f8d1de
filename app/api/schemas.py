"""The wire, inwards: the bodies of requests with texts.

A field has one name here and is also taken by the names that other APIs and SDKs have for it.
`null` is the same as absent. Unknown fields are ignored, and named in a response header.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

EmbeddingType = Literal["float", "base64", "binary", "ubinary"]

# Field -> its other names, first the one that wins. Two names of one field must agree, but for
# embedding_type: the OpenAI SDKs add encoding_format=base64 to requests that do not ask for it.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "input": ("texts", "content"),
    "task": ("task_type",),
    "dimensions": ("output_dimension", "output_dimensionality"),
    "embedding_type": ("encoding_type", "encoding_format"),
    "truncate": ("truncation",),
}
_MAY_DISAGREE = {"embedding_type"}

_TEXT_DOC_SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}
_INPUT_SCHEMA = {
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

_EMBEDDING_TYPES = {"enum": ["float", "base64", "binary", "ubinary"]}
_EMBEDDING_TYPE_SCHEMA = {
    "anyOf": [
        {"type": "string", **_EMBEDDING_TYPES},
        {"type": "array", "minItems": 1, "items": _EMBEDDING_TYPES},
    ]
}


def _texts(value: Any) -> list[str]:
    """input -> list of texts: a string, {"text": ...}, or a list of them, mixed or not."""
    if not isinstance(value, list):
        return [_text("input", value)]
    if not value:
        raise PydanticCustomError("too_short", "input is an empty list; send at least one text.")
    if all(isinstance(each, int) or _is_ids(each) for each in value):
        raise PydanticCustomError("token_ids", "input holds token ids; send texts.")
    return [_text(f"input[{index}]", each) for index, each in enumerate(value)]


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(number, int) for number in value)


def _text(place: str, value: Any) -> str:
    text = value.get("text") if isinstance(value, dict) else value
    if isinstance(text, str):
        return text
    seen = (
        f"an object with {', '.join(value) or 'nothing'}"
        if isinstance(value, dict)
        else _KINDS.get(type(value), "a number")
    )
    raise PydanticCustomError(
        "string_type",
        '{place} must be a text or an object with the key "text", not {seen}.',
        {"place": place, "seen": seen},
    )


_KINDS = {list: "a list", bool: "true or false", type(None): "null"}


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "must be a whole number, not true or false")
    return value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class TextsRequest(BaseModel):
    """What every request with texts has."""

    model_config = ConfigDict(extra="ignore")

    input: Annotated[list[str], BeforeValidator(_texts), WithJsonSchema(_INPUT_SCHEMA)] = Field(
        description='A text, `{"text": ...}`, or a list of them. Also taken as `texts` and '
        "`content`."
    )
    model: str | None = Field(None, description="A served name; absent is the model that is here.")
    task: str | None = Field(
        None,
        description="Which adapter reads the inputs: `retrieval.query`, `retrieval.passage`, "
        "`separation`, `classification` or `text-matching`. Absent is the service's default. "
        "Also taken as `task_type`.",
    )

    _ignored: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def _resolve(cls, body: Any, handler: Any) -> Any:
        if not isinstance(body, dict):
            raise PydanticCustomError("dict_type", "the body must be a JSON object")
        request = handler(_resolved(body))
        others = {name for names in ALIASES.values() for name in names}
        request._ignored = tuple(sorted(set(body) - set(cls.model_fields) - others))
        return request

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """Names in the body that mean nothing here."""
        return self._ignored


class EmbeddingsRequest(TextsRequest):
    """The body of POST /v1/embeddings."""

    dimensions: Annotated[int, BeforeValidator(_no_bool), Field(ge=1)] | None = Field(
        None,
        description="Matryoshka size: vectors are cut to it and normalised again. From 1 to the "
        "model's width. Also taken as `output_dimension` and `output_dimensionality`.",
    )
    late_chunking: bool = Field(
        False,
        description="Read all inputs as one document and pool each out of the shared context.",
    )
    late_chunking_overlap: Annotated[int, BeforeValidator(_no_bool), Field(ge=0)] | None = Field(
        None,
        description="With late chunking: read a document that is longer than the model reads in "
        "windows that overlap by so many tokens. 256 is a good value.",
    )
    embedding_type: Annotated[
        list[EmbeddingType],
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


def _resolved(body: dict[str, Any]) -> dict[str, Any]:
    """The body without nulls and with aliases under the field's own name."""
    fields = {name: value for name, value in body.items() if value is not None}
    for own, others in ALIASES.items():
        said = [name for name in (own, *others) if name in fields]
        values = [fields.pop(name) for name in said]
        if any(value != values[0] for value in values[1:]) and own not in _MAY_DISAGREE:
            raise PydanticCustomError(
                "conflict",
                "{names} are names of one field and must not differ.",
                {"names": " and ".join(said)},
            )
        if values:
            fields[own] = values[0]
    return fields
