"""The wire, outwards: what answers look like, for the OpenAPI document.

Embeddings are written straight from numpy arrays (vectors.py), so their models only describe.
"""

from typing import Any, Literal

from pydantic import BaseModel

from app.api.schemas import EmbeddingType

EmbeddingValue = list[float] | list[int] | str | dict[EmbeddingType, list[float] | list[int] | str]


class Embedding(BaseModel):
    """One vector: numbers, base64, or an object with a key for each type asked for."""

    object: Literal["embedding"]
    index: int
    embedding: EmbeddingValue


class Usage(BaseModel):
    """Tokens of the texts and two special tokens a row; a late-chunked request is one row."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """The answer of POST /v1/embeddings, vectors in the order of the inputs."""

    model: str
    object: Literal["list"]
    usage: Usage
    data: list[Embedding]


class Model(BaseModel):
    """A served name, in OpenAI's form with what a caller wants to know beside it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    name: str
    description: str
    context_length: int
    max_output_length: int
    matryoshka_dimensions: list[int]
    tasks: list[str]


class ModelList(BaseModel):
    """The answer of GET /v1/models."""

    object: Literal["list"]
    data: list[Model]


class Health(BaseModel):
    """The answer of the probes."""

    status: Literal["ok", "not ready", "draining"]


class FieldErrorModel(BaseModel):
    """One invalid field."""

    field: str
    message: str
    type: str
    input: Any


class OpenAIError(BaseModel):
    """The part of an error that OpenAI's SDKs read."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every error; `errors` is there on 422 only."""

    detail: str
    code: str
    request_id: str
    error: OpenAIError
    errors: list[FieldErrorModel] | None = None


class InputTokens(BaseModel):
    """One input's tokens. `token_ids` are what the model reads, special tokens and the task's
    instruction included; absent where only counts were asked for."""

    index: int
    tokens: int
    fits: bool
    token_ids: list[int] | None = None


class TokenizeResponse(BaseModel):
    """The answer of POST /tokenize. Tokens are the texts' own, which are what limits count."""

    model: str
    task: str | None
    max_tokens: int
    total_tokens: int
    fits_late_chunking: bool
    inputs: list[InputTokens]


class WorkerInfo(BaseModel):
    """A worker that is ready."""

    device: str
    dtype: str
    attention: str
    max_batch_tokens: int


class Info(BaseModel):
    """The answer of GET /info."""

    version: str
    model: str
    revision: str | None
    served_names: list[str]
    width: int
    matryoshka_dimensions: list[int]
    max_tokens: int
    max_document_tokens: int
    max_inputs: int
    tasks: list[str]
    default_task: str | None
    workers: list[WorkerInfo]


class InvocationItem(BaseModel):
    """One vector of a SageMaker answer."""

    id: str
    embedding: EmbeddingValue
    usage: dict[str, str | int]


class InvocationsResponse(BaseModel):
    """The answer of POST /invocations."""

    data: list[InvocationItem]
    parameters: dict[str, Any]
