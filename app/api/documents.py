"""Answers POST /v1/documents: validate, chunk and tokenise, embed, encode.

bytes -> DocumentsRequest -> rows with a span a chunk -> vectors (in the engine) -> bytes
"""

from functools import partial
from typing import Any

import numpy as np
import orjson

from app.api import vectors
from app.api.document_models import DocumentsRequest
from app.api.embeddings import EmbeddingService, Result, finished
from app.api.response_headers import headers_of
from app.api.service_tiers import answered
from app.api.spaces import Call
from app.api.validation import check_range, invalid_field, validated
from app.errors import SPACE_HEADER, ChunkLimitError, TokenLimitError
from model import documents
from model.documents import ChunkTooLongError, DocumentOptions, SpanError, TokenizedDocuments
from model.rows import Vectors
from model.tasks import PASSAGE_TASK, Task
from model.tokenizer import TooManyTokensError
from model.unicode import Int64Array, Positions, SplitCharacterError

# Of all chunks of a request together. Spans may overlap: each token that is pooled once more, and
# each character that is written once more, takes memory.
_MAX_CHUNK_TOKENS = 8_388_608


async def answer(embeddings: EmbeddingService, body: bytes, call: Call) -> Result:
    """One request, from its body to that of the response.

    Raises:
        RequestError: the request is refused, and nothing of it reached the queue.
        QuintetError: the engine did not take it, or failed on it.
    """
    request = validated(DocumentsRequest, body)
    call.flex = request.flex
    task = embeddings.checked_task(request, default=PASSAGE_TASK)
    _check_sizes(request, embeddings)
    tokenize = partial(_tokenize, request, task, embeddings)
    tokenized = await embeddings.in_thread("tokenise", tokenize)
    find_space = partial(embeddings.spaces.of, task, normalized=request.normalized)
    of_chunks = partial(find_space, late_chunking=request.late_chunking)
    pooled, space = await embeddings.compute(tokenized.rows, tokenized.tokens, call, of_chunks)
    head = {
        "object": "list",
        "model": embeddings.model_name(request),
        "embedding_space": str(space),
    }
    if request.document_embedding:
        head["document_embedding_space"] = str(find_space())
    encode = partial(_response_body, request, tokenized, pooled, head)
    written = await embeddings.in_thread("encode", encode)
    log_fields = {
        "task": task.name or "none",
        "documents": len(tokenized.documents),
        "chunks": sum(len(document.chunks) for document in tokenized.documents),
        "tokens": tokenized.tokens,
        "rows": len(tokenized.rows),
        "late_chunking": request.late_chunking,
    }
    return Result(written, headers_of(request) | {SPACE_HEADER: str(space)}, log_fields)


def _check_sizes(request: DocumentsRequest, embeddings: EmbeddingService) -> None:
    """Check what depends on the loaded model."""
    rules, chunking = embeddings.rules, request.chunking
    check_range(request.sent_as("dimensions"), request.dimensions, 1, rules.width)
    check_range("late_chunking_overlap", _overlap(request), 0, rules.max_tokens // 2)
    check_range("chunking.max_tokens", chunking.max_tokens, 1, rules.max_tokens)
    with_most = f"where max_tokens is {chunking.max_tokens} it may be"
    check_range("chunking.min_tokens", chunking.min_tokens, 0, chunking.max_tokens, with_most)
    check_range("chunking.overlap", chunking.overlap, 0, chunking.max_tokens // 2, with_most)


def _overlap(request: DocumentsRequest) -> int | None:
    """The overlap of windows that the caller asks for; None is the default of the loaded model."""
    asked = "late_chunking_overlap" in request.model_fields_set
    return request.late_chunking_overlap if asked else None


def _tokenize(
    request: DocumentsRequest, task: Task, embeddings: EmbeddingService
) -> TokenizedDocuments:
    field, rules = request.sent_as("input"), embeddings.rules
    options = DocumentOptions(
        request.chunking.chunking(),
        late_chunking=request.late_chunking,
        document_vector=request.document_embedding,
        overlap=_overlap(request),
        max_document_tokens=rules.max_document_tokens,
        max_chunks=rules.max_chunks,
        max_chunk_tokens=_most_chunk_tokens(request, embeddings),
        spans=_spans(request),
    )
    try:
        return documents.tokenize(request.input, task, options, embeddings.tokenizer)
    except ChunkTooLongError as error:
        sentence = (
            f"chunk {error.chunk} of {field}[{error.index}] has {error.tokens} tokens; read alone "
            f'it may have at most {error.limit} (send "late_chunking": true, or smaller chunks).'
        )
        raise TokenLimitError(sentence, field) from None
    except TooManyTokensError as error:
        sentence = (
            f"{field}[{error.index}] has {error.tokens} tokens; a document may have at most "
            f"{error.limit}. Send it in parts."
        )
        raise TokenLimitError(sentence, field) from None
    except documents.TooManyChunksError as error:
        raise ChunkLimitError(error.chunks, error.index + 1, error.limit, field) from None
    except documents.ChunksTooLargeError as error:
        sentence = (
            f"the chunks of the first {error.index + 1} of {field} have {error.tokens} tokens "
            f"together; one request may have at most {error.limit}. Send it in parts."
        )
        raise TokenLimitError(sentence, field) from None
    except SpanError as error:
        raise _invalid_span(request, error.index, error.span, str(error)) from None


def _most_chunk_tokens(request: DocumentsRequest, embeddings: EmbeddingService) -> int:
    """What the chunks of a request may have; chunks that are read alone must fit into the queue."""
    if request.late_chunking:
        return _MAX_CHUNK_TOKENS
    return min(_MAX_CHUNK_TOKENS, embeddings.queue_tokens(flex=request.flex))


def _spans(request: DocumentsRequest) -> list[Int64Array] | None:
    """The caller's spans in code points.

    Raises:
        InvalidFieldsError: one is empty, or begins or ends within a character.
    """
    given = request.chunking.spans
    if given is None:
        return None
    found = []
    for index, (text, spans) in enumerate(zip(request.input, given, strict=True)):
        ends = np.array(spans, np.int64).reshape(-1, 2)
        if len(wrong := np.flatnonzero(ends[:, 0] >= ends[:, 1])):
            sentence = "does not end behind its start"
            raise _invalid_span(request, index, int(wrong[0]), sentence)
        try:
            found.append(Positions(text, request.offsets).codepoints(ends))
        except SplitCharacterError as error:
            raise _invalid_span(request, index, error.index // 2, str(error)) from None
    return found


def _invalid_span(request: DocumentsRequest, index: int, span: int, sentence: str) -> Exception:
    name = f"chunking.spans.{index}.{span}"
    given = (request.chunking.spans or [])[index][span]
    shown = f"span {span} of {request.sent_as('input')}[{index}], {list(given)}: {sentence}."
    return invalid_field(name, shown, "span", list(given))


def _response_body(
    request: DocumentsRequest,
    tokenized: TokenizedDocuments,
    pooled: Vectors,
    head: dict[str, str],
) -> bytes:
    """`head`, usage and documents, written one by one, so that other threads of the process run in
    between."""
    data = []
    for index, (document, (chunks, whole)) in enumerate(
        zip(tokenized.documents, tokenized.vectors(pooled), strict=True)
    ):
        spans, positions = document.chunks.characters, Positions(document.text, request.offsets)
        written: dict[str, Any] = {"object": "document", "index": index}
        if (document_id := request.ids[index]) is not None:
            written["id"] = document_id
        if request.document_embedding:
            written |= _items(request, whole)[0]
        written["tokens"] = document.tokens
        written["chunks"] = [
            {"object": "chunk", "index": at, "start": start, "end": end, "tokens": count}
            for at, ((start, end), count) in enumerate(
                zip(positions.of(spans).tolist(), document.chunks.counts, strict=True)
            )
        ]
        for chunk, (start, end), item in zip(
            written["chunks"], spans.tolist(), _items(request, chunks), strict=True
        ):
            if request.return_text:
                chunk["text"] = document.text[start:end]
            chunk.update(item)
        data.append(orjson.Fragment(vectors.to_json(written)))
    usage = {"prompt_tokens": tokenized.tokens, "total_tokens": tokenized.tokens}
    tier = answered(request.service_tier)
    return vectors.to_json({**head, "usage": usage, **tier, "data": data})


def _items(request: DocumentsRequest, pooled: Vectors) -> list[dict[str, Any]]:
    embedded, types = finished(request, pooled), request.embedding_type
    return vectors.items(vectors.encode(embedded, types), vectors.scales(embedded, types))
