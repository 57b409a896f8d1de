"""Models of response bodies, for the OpenAPI document."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from app.api.field_names import EmbeddingType
from app.api.service_tiers import UsedTier


class ResponseModel(BaseModel):
    """A body whose fields are described by the texts behind them."""

    model_config = ConfigDict(use_attribute_docstrings=True)


EmbeddingValue = list[float] | list[int] | str | dict[EmbeddingType, list[float] | list[int] | str]


class Embedding(ResponseModel):
    """One vector: numbers, base64, or an object with a key for each type asked for."""

    object: Literal["embedding"]
    index: int
    """Which input it is of."""
    embedding: EmbeddingValue
    """As `embedding_type` asks for it."""
    scale: float | None = None
    """What the numbers of `int8` are to be multiplied by, where that type is asked for."""


class Usage(ResponseModel):
    """Tokens of the texts and two special tokens a row; a late-chunked request is one row."""

    prompt_tokens: int
    """Tokens that were charged."""
    total_tokens: int
    """The same."""


class EmbeddingsResponse(ResponseModel):
    """The answer of POST /v1/embeddings, vectors in the order of the inputs."""

    model: str
    """The name that was asked for."""
    object: Literal["list"]
    usage: Usage
    service_tier: UsedTier | None = None
    """Where the request had it: `flex`, or else `default`."""
    data: list[Embedding]
    """A vector for each input, in order."""


class Model(ResponseModel):
    """A served name, in OpenAI's form with what a caller wants to know beside it."""

    id: str
    """The name that requests send."""
    object: Literal["model"]
    created: int
    """When the checkpoint was written, in seconds since 1970."""
    owned_by: str
    """Always `quintet`."""
    name: str
    """The same as `id`."""
    description: str
    """What the model is for."""
    context_length: int
    """Tokens of the longest text."""
    max_output_length: int
    """Dimensions of a vector."""
    matryoshka_dimensions: list[int]
    """Sizes that the model was trained to be cut to."""
    tasks: list[str]
    """What `task` may be."""
    embedding_spaces: dict[str, str] | None = None
    """The space of each task's vectors, of length 1 and without late chunking; null until a worker
    has loaded the model. Before the dot it is the same for vectors that may be compared."""


class ModelList(ResponseModel):
    """The answer of GET /v1/models."""

    object: Literal["list"]
    data: list[Model]
    """Every name that requests may send."""


class Health(ResponseModel):
    """The answer of the probes."""

    status: Literal["ok", "not ready", "draining"]
    """`ok` is answered with 200, the others with 503."""


class FieldErrorModel(ResponseModel):
    """One invalid field."""

    field: str
    """Where it stands, such as `body -> task`."""
    message: str
    """What is wrong with it, and what may stand there."""
    type: str
    """The kind of mistake."""
    input: Any
    """What was sent, shortened."""


class OpenAIError(ResponseModel):
    """The part of an error that OpenAI's SDKs read."""

    message: str
    """The same as `detail`."""
    type: str
    """`invalid_request_error` or `server_error`."""
    param: str | None
    """The field to blame."""
    code: str | None
    """OpenAI's word for the error."""


class ErrorBody(ResponseModel):
    """The body of every error; `errors` is there on 422 only."""

    detail: str
    """A sentence: what is wrong, how much, the limit, what to do."""
    code: str
    """Jina's word for the error."""
    request_id: str
    """To be found in the log."""
    error: OpenAIError
    """What OpenAI's clients read."""
    errors: list[FieldErrorModel] | None = None
    """One for each invalid field."""


class InputTokens(ResponseModel):
    """One input's tokens. `token_ids` have the special tokens and the task's instruction too."""

    index: int
    """Which input it is of."""
    tokens: int
    """The text's own tokens."""
    fits: bool
    """Whether it is within the limit."""
    token_ids: list[int] | None = None
    """What the model reads; absent where only counts were asked for."""
    offsets: list[list[int] | None] | None = None
    """Where each of them stands in the text, [start, end] half open, where `offsets` were asked
    for; null for special tokens and those of the instruction."""


class TokenizeResponse(ResponseModel):
    """The answer of POST /tokenize. Tokens are the texts' own, which are what limits count."""

    model: str
    """The name that was asked for."""
    task: str | None
    """The task whose instruction is in `token_ids`."""
    max_tokens: int
    """Tokens of the longest text that is read."""
    total_tokens: int
    """Of all inputs together."""
    fits_late_chunking: bool
    """Whether they fit as one document."""
    inputs: list[InputTokens]
    """In order."""


class WorkerInfo(ResponseModel):
    """A worker that is ready."""

    device: str
    """`cpu`, `cuda:0`, ..."""
    dtype: str
    """What weights are computed in."""
    attention: str
    """Which kernels are used."""
    max_batch_tokens: int
    """Tokens of one forward pass."""


class Info(ResponseModel):
    """The answer of GET /info."""

    version: str
    """Of the service."""
    model: str
    """The checkpoint."""
    revision: str | None
    """Of a hub id, where one is pinned."""
    served_names: list[str]
    """What `model` may be."""
    width: int
    """Dimensions of a vector."""
    matryoshka_dimensions: list[int]
    """Sizes that the model was trained to be cut to."""
    max_tokens: int
    """Tokens of the longest text."""
    max_document_tokens: int
    """Tokens of the longest document that is read in windows."""
    max_inputs: int
    """Inputs of one request."""
    max_chunks: int
    """Chunks of all documents of one request."""
    tasks: list[str]
    """What `task` may be."""
    default_task: str | None
    """The task of a request that names none; null is the base model."""
    embedding_spaces: dict[str, str] | None
    """The space of each task's vectors, of length 1 and without late chunking; null until a worker
    has loaded the model. Before the dot it is the same for vectors that may be compared."""
    workers: list[WorkerInfo]
    """Those that have the model loaded."""


class InvocationItem(ResponseModel):
    """One vector of a SageMaker answer."""

    id: str
    """The input's own, or one that was made up."""
    embedding: EmbeddingValue
    """As `embedding_type` asks for it."""
    scale: float | None = None
    """What the numbers of `int8` are to be multiplied by."""
    usage: dict[str, str | int]
    """An id and `total_tokens` of this input."""


class InvocationsResponse(ResponseModel):
    """The answer of POST /invocations."""

    data: list[InvocationItem]
    """A vector for each text, in order."""
    parameters: dict[str, Any]
    """Those of the request that mean something."""
