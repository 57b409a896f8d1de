"""Answers POST /tokenize: count the tokens of texts, list them, and say whether they fit."""

from functools import partial
from typing import Any

from app.api.embeddings import EmbeddingService
from app.api.request_models import TokenizeRequest
from app.api.response_headers import headers_of
from app.api.validation import validated
from app.api.vectors import to_json
from model.offsets import tokenize_with_offsets
from model.tokenizer import SPECIAL_TOKENS, RowOptions
from model.unicode import Positions


async def answer(embeddings: EmbeddingService, body: bytes) -> tuple[bytes, dict[str, str]]:
    """One request, from its body to that of the response and its headers. Texts over the limit are
    counted too.

    Raises:
        RequestError: the request is refused.
    """
    request = validated(TokenizeRequest, body)
    task, limit = embeddings.checked_task(request), embeddings.rules.max_tokens
    tokenized = await embeddings.tokenize(request, task, RowOptions(counting=True))
    inputs: list[dict[str, Any]] = []
    for index, (row, tokens) in enumerate(zip(tokenized.rows, tokenized.input_tokens, strict=True)):
        ids = {} if request.counts_only else {"token_ids": row.token_ids}
        inputs.append({"index": index, "tokens": tokens, "fits": tokens <= limit, **ids})
    if request.offsets:
        find_offsets = partial(_offsets, request, embeddings, inputs)
        offsets = await embeddings.in_thread("tokenise", find_offsets)
        for each, places in zip(inputs, offsets, strict=True):
            each["offsets"] = places
    total = tokenized.tokens - SPECIAL_TOKENS * len(inputs)
    response = {
        "model": embeddings.model_name(request),
        "task": task.name,
        "max_tokens": limit,
        "total_tokens": total,
        "fits_late_chunking": total <= limit,
        "inputs": inputs,
    }
    return to_json(response), headers_of(request)


def _offsets(
    request: TokenizeRequest, embeddings: EmbeddingService, inputs: list[dict[str, Any]]
) -> list[list[list[int] | None]]:
    """For each input the places of its token_ids in the text; special tokens and those of the
    instruction have none."""
    assert request.offsets, "the request asks for no offsets"
    found: list[list[list[int] | None]] = []
    for counted, each in zip(
        inputs, tokenize_with_offsets(request.input, embeddings.tokenizer, None), strict=True
    ):
        places = Positions(each.text, request.offsets).of(each.offsets).tolist()
        before = len(counted["token_ids"]) - len(places) - 1
        found.append([*[None] * before, *places, None])
    return found
