"""SageMaker: POST /invocations as jina-embeddings-v3's marketplace containers answer it.

A JSON body {"data": [{"text": ...}], "parameters": {...}}, or for a batch transform text/csv with
rows of an id and a text and no header. Azure Marketplace's container has the same contract.
"""

import csv
import io
import uuid
from typing import Any

from pydantic import BaseModel, Field

from app.api.embeddings import Embeddings
from app.api.invalid import invalid_field, validated
from app.api.schemas import EmbeddingsRequest
from app.api.vectors import to_json
from app.budget import Budget
from app.errors import InvalidJsonError
from model.tokenizer import SPECIAL_TOKENS


class InvocationsRequest(BaseModel):
    """The body of POST /invocations."""

    data: list[Any] | dict[str, Any] | str = Field(
        description="Texts, or objects with a `text` and, if you like, an `id`."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="Fields of POST /v1/embeddings: `task`, `dimensions`, `late_chunking`, ...",
    )


async def invoke(
    embeddings: Embeddings, body: bytes, content_type: str, budget: Budget
) -> tuple[bytes, dict[str, Any]]:
    """One request, from its body to the answer's, and what the log line says of it.

    Raises:
        RequestError: the request is refused, and nothing of it reached the queue.
        QuintetError: the engine did not take it, or failed on it.
    """
    call = _from_csv(body) if "csv" in content_type else validated(InvocationsRequest, body)
    given = call.data if isinstance(call.data, list) else [call.data]
    parameters = {name: value for name, value in call.parameters.items() if name != "input"}
    request = validated(EmbeddingsRequest, {**parameters, "input": given})
    embedded = await embeddings.embed(request, budget)
    special = 0 if request.late_chunking else SPECIAL_TOKENS
    data = [
        {
            "id": _id(each),
            "embedding": encoded,
            "usage": {"id": uuid.uuid4().hex, "total_tokens": tokens + special},
        }
        for each, encoded, tokens in zip(
            given, embedded.encoded, embedded.tokenized.input_tokens, strict=True
        )
    ]
    return to_json({"data": data, "parameters": _echoed(call.parameters)}), embedded.facts()


def _from_csv(body: bytes) -> InvocationsRequest:
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidJsonError(f"the body is not valid CSV in UTF-8: {error}.") from None
    for number, row in enumerate(rows, 1):
        if len(row) not in (0, 2):
            sentence = f"row {number} has {len(row)} columns; an id and a text are two."
            raise invalid_field("data", sentence, "csv_columns", row)
    return InvocationsRequest(data=[{"id": row[0], "text": row[1]} for row in rows if row])


def _echoed(value: Any) -> Any:
    """Parameters as they can be written again: a number of more than 64 bits as its text."""
    if isinstance(value, dict):
        return {name: _echoed(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_echoed(each) for each in value]
    return str(value) if isinstance(value, int) and value.bit_length() >= 64 else value


def _id(given: Any) -> str:
    own = given.get("id") if isinstance(given, dict) else None
    return uuid.uuid4().hex if own is None else str(own)
