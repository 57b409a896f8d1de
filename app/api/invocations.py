"""Answers POST /invocations, as jina-embeddings-v3's containers on SageMaker and Azure answer it.

A JSON body {"data": [{"text": ...}], "parameters": {...}}, or for a batch transform text/csv with
rows of an id and a text and no header. Both marketplaces have the same contract.
"""

import csv
import io
import uuid
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from app.api import inputs, vectors
from app.api.bodies import decoded
from app.api.embeddings import EmbeddingService, Result
from app.api.field_names import (
    ALIASES,
    INPUT_TYPE,
    affecting_vectors,
    all_names,
    check_near_misses,
    refusal,
    without_nulls,
)
from app.api.request_models import EmbeddingsRequest, RequestBody
from app.api.spaces import Call
from app.api.validation import invalid_field, validated
from app.errors import InvalidJsonError
from model.tokenizer import SPECIAL_TOKENS

# Names that belong into parameters: beside data they would be ignored, and change no vector.
_IN_PARAMETERS = all_names(EmbeddingsRequest.model_fields) - {"model", "user"} | {INPUT_TYPE}
_AFFECTING_VECTORS = affecting_vectors(EmbeddingsRequest.model_fields) | {"parameters"}
# The texts are in data.
_NOT_IN_PARAMETERS = {"input", *ALIASES["input"]}


def _items(value: Any) -> list[Any]:
    """The field data -> a list of texts and objects with a text."""
    inputs.texts_in(value, "data")
    return value if isinstance(value, list) else [value]


class InvocationsRequest(RequestBody):
    """The body of POST /invocations."""

    data: Annotated[list[Any], BeforeValidator(_items), WithJsonSchema(inputs.SCHEMA)] = Field(
        description="A text, an object with a `text` and, if you like, an `id`, or a list of them."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="Fields of POST /v1/embeddings: `task`, `dimensions`, `late_chunking`, ...",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _resolve(cls, body: Any, handler: Any) -> Any:
        fields = without_nulls(body)
        call = handler(fields)
        others = set(fields) - set(cls.model_fields)
        if misplaced := sorted(others & _IN_PARAMETERS):
            sentence = "cannot stand beside data; what a request asks for is in parameters."
            raise refusal(misplaced[0], "misplaced", f"{' and '.join(misplaced)} {sentence}")
        check_near_misses({name: fields[name] for name in others}, _AFFECTING_VECTORS)
        call.ignore(others | inputs.unread_keys(call.data, "data"))
        return call


async def answer(
    embeddings: EmbeddingService, content_type: str, body: bytes, call: Call
) -> Result:
    """One request, from its body to that of the response.

    Raises:
        RequestError: the request is refused, and nothing of it reached the queue.
        QuintetError: the engine did not take it, or failed on it.
    """
    sent = _from_csv(body) if "csv" in content_type.lower() else validated(InvocationsRequest, body)
    given = sent.parameters
    fields = {name: given[name] for name in given if name not in _NOT_IN_PARAMETERS}
    texts = inputs.texts_in(sent.data, "data")
    request = validated(EmbeddingsRequest, {**fields, "input": texts}, "parameters")
    request.sent_within("parameters.", input="data")
    request.replace_surrogates(sent.replaced_surrogates)
    parameters = {name: fields[name] for name in fields if name not in request.ignored_fields}
    request.ignore({*sent.ignored_fields, *(given.keys() - fields)})
    embedded = await embeddings.embed(request, call)
    special = 0 if request.late_chunking else SPECIAL_TOKENS
    data = [
        {
            "id": _id(each),
            **item,
            "usage": {"id": uuid.uuid4().hex, "total_tokens": tokens + special},
        }
        for each, item, tokens in zip(
            sent.data,
            vectors.items(embedded.encoded, embedded.scales),
            embedded.tokenized.input_tokens,
            strict=True,
        )
    ]
    return embedded.result({"data": data, "parameters": parameters})


def _from_csv(body: bytes) -> InvocationsRequest:
    try:
        # With newline="" lines may also end with a carriage return alone.
        rows = list(csv.reader(io.StringIO(decoded(body), newline=""), strict=True))
    except csv.Error as error:
        raise InvalidJsonError(f"the body is not valid CSV: {error}.") from None
    for number, row in enumerate(rows, 1):
        if len(row) not in (0, 2):
            sentence = f"row {number} has {len(row)} columns; an id and a text are two."
            raise invalid_field("data", sentence, "csv_columns", row)
    data = [{"id": row[0], "text": row[1]} for row in rows if row]
    return validated(InvocationsRequest, {"data": data})


def _id(given: Any) -> str:
    sent = given.get("id") if isinstance(given, dict) else None
    return uuid.uuid4().hex if sent is None else str(sent)
