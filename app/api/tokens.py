"""Tokens: POST /tokenize, so that a caller can plan: what a text costs, and whether it fits."""

from typing import Any

from app.api.embeddings import Embeddings
from app.api.invalid import validated
from app.api.notes import notes
from app.api.schemas import TokenizeRequest
from app.api.vectors import to_json
from model.offsets import tokenize_with_offsets
from model.tokenizer import SPECIAL_TOKENS, RowOptions
from model.unicode import Positions


async def tokenize(embeddings: Embeddings, body: bytes) -> tuple[bytes, dict[str, str]]:
    """One request, from its body to the answer's, and notes. Texts over the limit are counted too.

    Raises:
        RequestError: the request is refused.
    """
    request = validated(TokenizeRequest, body)
    task, limit = embeddings.task(request), embeddings.rules.max_tokens
    tokenized = await embeddings.tokenize(request, task, RowOptions(counting=True))
    inputs: list[dict[str, Any]] = []
    for index, (row, tokens) in enumerate(zip(tokenized.rows, tokenized.input_tokens, strict=True)):
        ids = {} if request.counts_only else {"token_ids": row.token_ids}
        inputs.append({"index": index, "tokens": tokens, "fits": tokens <= limit, **ids})
    if request.offsets:
        places = await embeddings.in_thread("tokenise", _offsets, request, embeddings, inputs)
        for each, own in zip(inputs, places, strict=True):
            each["offsets"] = own
    total = tokenized.tokens - SPECIAL_TOKENS * len(inputs)
    answer = {
        "model": embeddings.signed(request),
        "task": task.name,
        "max_tokens": limit,
        "total_tokens": total,
        "fits_late_chunking": total <= limit,
        "inputs": inputs,
    }
    return to_json(answer), notes(request)


def _offsets(
    request: TokenizeRequest, embeddings: Embeddings, inputs: list[dict[str, Any]]
) -> list[list[list[int] | None]]:
    """For each input the places of its token_ids in the text; special tokens and those of the
    instruction have none."""
    assert request.offsets, "nobody asked for them"
    found: list[list[list[int] | None]] = []
    for own, each in zip(
        inputs, tokenize_with_offsets(request.input, embeddings.tokenizer, None), strict=True
    ):
        places = Positions(each.text, request.offsets).of(each.offsets).tolist()
        front = len(own["token_ids"]) - len(places) - 1
        found.append([*[None] * front, *places, None])
    return found
