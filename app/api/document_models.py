"""Request and response of POST /v1/documents, with the descriptions of the OpenAPI document."""

from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.api.chunk_spans import SPANS, spans_of
from app.api.field_names import MAX_COMPARED, check_near_misses, refusal, without_nulls
from app.api.misspellings import near
from app.api.request_models import Count, Size, VectorsRequest
from app.api.response_models import EmbeddingValue, ResponseModel, Usage
from app.api.service_tiers import UsedTier
from model.chunking import By, Chunking, unused
from model.unicode import Unit
from model.windows import DEFAULT_OVERLAP

_ID_BITS = 64  # the most that orjson writes
_DEFAULT = Chunking()


def _id(path: str, given: Any) -> str | int | None:
    """The id of an input.

    Raises:
        ValidationError: it is neither a text nor a whole number of 64 bits.
    """
    sent = given.get("id") if isinstance(given, dict) else None
    number = isinstance(sent, int) and not isinstance(sent, bool) and sent.bit_length() < _ID_BITS
    if sent is None or isinstance(sent, str) or number:
        return sent
    raise refusal(f"{path}.id", "id_type", f"{path}.id must be a text or a whole number.", sent)


class ChunkingFields(BaseModel):
    """How documents are cut."""

    model_config = ConfigDict(extra="ignore")

    by: By = Field(
        _DEFAULT.by,
        description="`sentences`: whole sentences, by Unicode's rules, in any language. "
        "`markdown`: headings, blocks and lines, the strongest boundary that fits. `tokens`: "
        "windows of `max_tokens` that end at a white space where there is one. `spans`: as "
        "`spans` says.",
    )
    max_tokens: Size = Field(
        _DEFAULT.max_tokens,
        description="The most tokens of a chunk, counted in the whole text. A longer sentence is "
        "cut at a white space, or between tokens; only one character that is more tokens by itself "
        "may have more.",
    )
    min_tokens: Count = Field(
        _DEFAULT.min_tokens,
        description="0 fills chunks up to `max_tokens`. More: a chunk ends with the first sentence "
        "(or block) that brings it to so many tokens. 1 is a chunk a sentence.",
    )
    overlap: Count = Field(
        _DEFAULT.overlap,
        description="A chunk begins with up to so many tokens of the one before it; at most half "
        "of `max_tokens`.",
    )
    spans: Annotated[
        list[list[list[int]]] | None, PlainValidator(spans_of), WithJsonSchema(SPANS)
    ] = Field(
        None,
        description="With `by: spans`: for each document its chunks as [start, end], half open, in "
        "the unit of `offsets`. They may overlap and leave parts out.",
    )

    _ignored: set[str] = PrivateAttr(default_factory=set)

    @property
    def ignored(self) -> set[str]:
        """Names in it that are ignored."""
        return self._ignored

    @model_validator(mode="wrap")
    @classmethod
    def _resolve(cls, given: Any, handler: Any) -> Any:
        if not isinstance(given, dict):
            raise PydanticCustomError("dict_type", 'must be an object, such as {"by": "tokens"}')
        unknown = {name: value for name, value in given.items() if name not in cls.model_fields}
        check_near_misses(unknown, cls.model_fields)
        fields = handler(without_nulls(given))
        fields._ignored = {*unknown}
        return fields

    @model_validator(mode="after")
    def _agrees(self) -> "ChunkingFields":
        """Refuse a field that would have no effect, unless it has its default value."""
        if (self.by == "spans") != (self.spans is not None):
            raise refusal("spans", "conflict", 'spans and "by": "spans" need each other.')
        if name := unused(self.chunking()):
            sentence = f'{name} does not count where "by" is "{self.by}".'
            raise refusal(name, "conflict", sentence, getattr(self, name))
        return self

    def chunking(self) -> Chunking:
        """The same for the model."""
        return Chunking(self.by, self.max_tokens, self.min_tokens, self.overlap)


class DocumentsRequest(VectorsRequest):
    """The body of POST /v1/documents. A document may have an `id`, which its answer has too."""

    task: str | None = Field(
        None,
        description="Which adapter reads the documents; absent is `retrieval.passage`. Also taken "
        "as `task_type`, and in other words as `input_type`: `query`, `document`, ...",
    )
    chunking: ChunkingFields = Field(
        default_factory=ChunkingFields, description="How documents are cut into chunks."
    )
    late_chunking: bool = Field(
        True,
        description="Read each document once and pool its chunks out of that. `false` reads each "
        "chunk alone, and the whole document once more for its own vector.",
    )
    late_chunking_overlap: Count = Field(
        DEFAULT_OVERLAP,
        description="By how many tokens the windows overlap in which a document is read that is "
        "longer than the model reads.",
    )
    offsets: Unit = Field(
        "codepoints",
        description="What `start`, `end` and `spans` count: `codepoints` (Python), units of "
        "`utf16` (JavaScript, Java, C#), or `bytes` of UTF-8 (Go, Rust).",
    )
    return_text: bool = Field(True, description="Give each chunk's text.")
    document_embedding: bool = Field(True, description="Give a vector of the whole document.")

    _ids: tuple[str | int | None, ...] = PrivateAttr(())

    @property
    def ids(self) -> tuple[str | int | None, ...]:
        """The documents' ids."""
        return self._ids

    @classmethod
    def check_names(cls, names: set[str]) -> None:
        """Refuse fields of `chunking` that stand beside it: they would be ignored."""
        inside = frozenset(ChunkingFields.model_fields) - {"by"}
        in_order = sorted(names, key=lambda name: (name not in ChunkingFields.model_fields, name))
        for name in islice(in_order, MAX_COMPARED):
            if meant := "by" if name == "by" else near(name, inside):
                sentence = f"{name} does not count here; send chunking.{meant}."
                raise refusal(name, "misplaced", sentence)

    @model_validator(mode="after")
    def _complete(self) -> "DocumentsRequest":
        name = self.sent_as("input")
        given = self._given if isinstance(self._given, list) else [self._given]
        self._ids = tuple(_id(f"{name}[{index}]", each) for index, each in enumerate(given))
        self.ignore({f"chunking.{each}" for each in self.chunking.ignored})
        spans = self.chunking.spans
        if spans is not None and len(spans) != len(self.input):
            sentence = f"chunking.spans has spans of {len(spans)} documents, {name} has "
            raise refusal("chunking", "conflict", f"{sentence}{len(self.input)}.")
        return self


class Chunk(ResponseModel):
    """A part of a document, and its vector."""

    object: Literal["chunk"]
    index: int
    """Its place among the document's chunks."""
    start: int
    """Where it begins in the document, in the unit of `offsets`."""
    end: int
    """Where it ends: the first position that is not in it."""
    tokens: int
    """Its tokens, counted in the document."""
    text: str | None = None
    """The text between them, where `return_text` is true."""
    embedding: EmbeddingValue
    """As `embedding_type` asks for it."""
    scale: float | None = None
    """What the numbers of `int8` are to be multiplied by."""


class Document(ResponseModel):
    """One document. A text of no token, as an empty one, has no chunks."""

    object: Literal["document"]
    index: int
    """Which input it is."""
    id: str | int | None = None
    """The input's own, if it has one."""
    embedding: EmbeddingValue | None = None
    """The mean over the whole document, where `document_embedding` is true."""
    scale: float | None = None
    """What the numbers of `int8` are to be multiplied by."""
    tokens: int
    """Its own tokens."""
    chunks: list[Chunk]
    """In order."""


class DocumentsResponse(ResponseModel):
    """The answer of POST /v1/documents, documents in the order of the inputs."""

    object: Literal["list"]
    model: str
    """The name that was asked for."""
    embedding_space: str
    """The space of the chunks' vectors, as in the header x-embedding-space."""
    document_embedding_space: str | None = None
    """That of the documents' own vectors, where they were asked for."""
    usage: Usage
    """Tokens of the documents, and two special tokens for each; with `late_chunking` false those of
    the chunks and of the documents that are read as well, and two for each."""
    service_tier: UsedTier | None = None
    """Where the request had it: `flex`, or else `default`."""
    data: list[Document]
    """One for each input, in order."""
