"""The bodies of requests with texts: their fields, with the descriptions of the OpenAPI document.

Under which names a field is taken, and which names are ignored or refused, is in field_names.py.
"""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.api import inputs
from app.api.field_names import EMBEDDING_TYPES, EmbeddingType, as_list, refusal, resolve
from app.api.service_tiers import FLEX, ServiceTier
from model.unicode import Unit

_EMBEDDING_TYPE_SCHEMA = {
    "anyOf": [
        {"type": "string", "enum": [*EMBEDDING_TYPES]},
        {"type": "array", "minItems": 1, "items": {"enum": [*EMBEDDING_TYPES]}},
    ]
}


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "must be a whole number, not true or false")
    return value


# Whole numbers. Their ranges depend on the loaded model: `check_range` in embeddings.py.
Size = Annotated[int, BeforeValidator(_no_bool), WithJsonSchema({"type": "integer", "minimum": 1})]
Count = Annotated[int, BeforeValidator(_no_bool), WithJsonSchema({"type": "integer", "minimum": 0})]


class RequestBody(BaseModel):
    """A body, and what the headers of its response say of it."""

    model_config = ConfigDict(extra="ignore")

    _ignored: tuple[str, ...] = PrivateAttr(())
    _replaced: int = PrivateAttr(0)

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """Names in the body that mean nothing here, sorted."""
        return self._ignored

    def ignore(self, names: Iterable[str]) -> None:
        """Add names to them."""
        self._ignored = tuple(sorted({*self._ignored, *names}))

    @property
    def replaced_surrogates(self) -> int:
        """Lone surrogates in the body that were replaced by U+FFFD."""
        return self._replaced

    def replace_surrogates(self, count: int) -> None:
        """Set their number."""
        self._replaced = count


class TextsRequest(RequestBody):
    """What every request with texts has."""

    input: Annotated[list[str], BeforeValidator(inputs.texts_in), WithJsonSchema(inputs.SCHEMA)] = (
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
        "Also taken as `task_type`, and in other words as `input_type`: `query`, `document`, ...",
    )

    _sent: dict[str, str] = PrivateAttr(default_factory=dict)
    _within: str = PrivateAttr("")
    _given: Any = PrivateAttr(None)
    _way_out: str = PrivateAttr('"truncate": true to cut at the limit')

    @property
    def way_out(self) -> str:
        """What to send where an input is too long."""
        return self._way_out

    def sent_as(self, field: str) -> str:
        """The name under which a field was sent, for errors."""
        return self._sent.get(field, self._within + field)

    def sent_within(self, within: str, **others: str) -> None:
        """Its fields were sent inside of another one, or under these names."""
        inside = {field: within + name for field, name in self._sent.items()}
        self._within, self._sent = within, {**inside, **others}

    def sent_to(self, way_out: str, **names: str) -> None:
        """It came by another API, which has these names for its fields."""
        self._way_out = way_out
        self.sent_within("", **names)

    @classmethod
    def translated(cls, body: Any) -> Any:
        """The body in the words of this API."""
        return body

    @classmethod
    def check_names(cls, names: set[str]) -> None:
        """
        Raises:
            ValidationError: one of these ignored names belongs elsewhere in the body.
        """

    @model_validator(mode="wrap")
    @classmethod
    def _resolve(cls, body: Any, handler: Any) -> Any:
        found = resolve(cls.translated(body), cls.model_fields)
        cls.check_names(found.ignored)
        try:
            request = handler(found.fields)
        except ValidationError as error:
            raise found.renamed(error) from None
        input_name = found.sent["input"]
        request._sent, request._given = found.sent, found.fields["input"]
        request.ignore(found.ignored | inputs.unread_keys(found.fields["input"], input_name))
        return request


class VectorsRequest(TextsRequest):
    """What every request has that asks for vectors."""

    dimensions: Size | None = Field(
        None,
        description="Matryoshka size: vectors are cut to it and normalised again. From 1 to the "
        "model's width. Also taken as `output_dimension` and `output_dimensionality`.",
    )
    embedding_type: Annotated[
        list[EmbeddingType],
        FailFast(),  # a million wrong words are one error, not a million
        BeforeValidator(as_list),
        Field(min_length=1),
        AfterValidator(lambda types: [*dict.fromkeys(types)]),  # each is encoded once
        WithJsonSchema(_EMBEDDING_TYPE_SCHEMA),
    ] = Field(
        ["float"],
        description="How vectors are written: `float`; `base64` of little-endian float32; "
        "`binary` and `ubinary` have a sign bit a dimension, eight to a number; `int8` are whole "
        "numbers from -127 to 127, beside a `scale` to multiply them with. With a list of several, "
        "`embedding` is an object with a key for each. Also taken as `encoding_type`, "
        "`encoding_format` and `embedding_types`.",
    )
    normalized: bool = Field(
        True, description="Scale vectors to length 1. Also taken as `normalize`."
    )
    service_tier: ServiceTier | None = Field(
        None,
        description="`flex` is for bulk that may wait: other requests go first, it gets what they "
        "leave and at least a share of the device, and it is refused sooner. Absent, `auto` and "
        "`default` are the same. The answer has the field too if the request has it.",
    )
    user: str | None = Field(None, description="Taken and not used.")

    @property
    def flex(self) -> bool:
        """Whether it waits in the flex lane."""
        return self.service_tier == FLEX


class EmbeddingsRequest(VectorsRequest):
    """The body of POST /v1/embeddings."""

    late_chunking: bool = Field(
        False,
        description="Read all inputs as one document and pool each out of the shared context.",
    )
    late_chunking_overlap: Count | None = Field(
        None,
        description="With late chunking: read a document that is longer than the model reads in "
        "windows that overlap by so many tokens. 256 is a good value.",
    )
    truncate: bool = Field(
        False,
        description="Cut what is over the token limit, from the end, instead of refusing it. "
        "Also taken as `truncation`.",
    )

    @model_validator(mode="after")
    def _overlap_needs_late_chunking(self) -> "EmbeddingsRequest":
        if self.late_chunking_overlap is not None and not self.late_chunking:
            name, sentence = "late_chunking_overlap", "late_chunking_overlap needs late_chunking"
            raise refusal(name, "conflict", f"{sentence} to be true.", self.late_chunking_overlap)
        return self


class TokenizeRequest(TextsRequest):
    """The body of POST /tokenize."""

    counts_only: bool = Field(False, description="Leave the ids out of the answer.")
    offsets: Unit | None = Field(
        None,
        description="Say where in the text each token stands, in `codepoints`, in units of "
        "`utf16`, or in `bytes` of UTF-8. Absent: do not.",
    )

    @model_validator(mode="after")
    def _offsets_are_of_ids(self) -> "TokenizeRequest":
        if self.offsets and self.counts_only:
            sentence = "offsets are those of token_ids; counts_only must be false."
            raise refusal("offsets", "conflict", sentence, self.offsets)
        return self
