"""The journey of a request with documents: POST /v1/documents. Like embeddings.py's, with chunks.

bytes -> DocumentsRequest -> rows with a span a chunk -> vectors (in the engine) -> bytes
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from app.access.budget import Budget
from app.api import vectors
from app.api.document_wire import DocumentsRequest
from app.api.embeddings import Embeddings, check_range
from app.api.invalid import invalid_field, validated
from app.api.notes import notes
from app.errors import TokenLimitError, TooManyChunksError
from model import documents
from model.documents import ChunkTooLongError, DocumentOptions, SpanError, TokenizedDocuments
from model.rows import Vectors
from model.tasks import PASSAGE_TASK, Task
from model.tokenizer import TooManyTokensError
from model.unicode import Ints, Positions, SplitCharacterError


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a request: the answer's body, and what it took."""

    request: DocumentsRequest
    task: Task
    read: TokenizedDocuments
    body: bytes

    def notes(self) -> dict[str, str]:
        """What the answer's headers say of it."""
        return notes(self.request)

    def facts(self) -> dict[str, Any]:
        """What the log line says of it."""
        return {
            "task": self.task.name or "none",
            "documents": len(self.read.documents),
            "chunks": sum(len(document.chunks) for document in self.read.documents),
            "tokens": self.read.tokens,
            "rows": len(self.read.rows),
            "late_chunking": self.request.late_chunking,
        }


async def answer(embeddings: Embeddings, body: bytes, budget: Budget) -> Answered:
    """One request, from its body to the answer's.

    Raises:
        RequestError: the request is refused, and nothing of it reached the queue.
        QuintetError: the engine did not take it, or failed on it.
    """
    request = validated(DocumentsRequest, body)
    task = embeddings.task(request, default=PASSAGE_TASK)
    _check_sizes(request, embeddings)
    read = await embeddings.in_thread("tokenise", _read, request, task, embeddings)
    pooled = await embeddings.compute(read.rows, read.tokens, budget)
    model = embeddings.signed(request)
    written = await embeddings.in_thread("encode", _written, request, read, pooled, model)
    return Answered(request, task, read, written)


def _check_sizes(request: DocumentsRequest, embeddings: Embeddings) -> None:
    """What only the loaded model can judge of a request's numbers."""
    rules, own = embeddings.rules, request.chunking
    check_range(request.sent_as("dimensions"), request.dimensions, 1, rules.width)
    check_range("late_chunking_overlap", request.late_chunking_overlap, 0, rules.max_tokens // 2)
    check_range("chunking.max_tokens", own.max_tokens, 1, rules.max_tokens)
    with_most = f"where max_tokens is {own.max_tokens} it may be"
    check_range("chunking.min_tokens", own.min_tokens, 0, own.max_tokens, with_most)
    check_range("chunking.overlap", own.overlap, 0, own.max_tokens // 2, with_most)


def _read(request: DocumentsRequest, task: Task, embeddings: Embeddings) -> TokenizedDocuments:
    field, rules = request.sent_as("input"), embeddings.rules
    reading = DocumentOptions(
        request.chunking.chunking(),
        late_chunking=request.late_chunking,
        document_vector=request.document_embedding,
        overlap=request.late_chunking_overlap,
        max_document_tokens=rules.max_document_tokens,
        max_chunks=rules.max_chunks,
        spans=_spans(request),
    )
    try:
        return documents.tokenize(request.input, task, reading, embeddings.tokenizer)
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
        raise TooManyChunksError(error.chunks, error.index + 1, error.limit, field) from None
    except SpanError as error:
        raise _invalid_span(request, error.index, error.span, str(error)) from None


def _spans(request: DocumentsRequest) -> list[Ints] | None:
    """The caller's spans in code points.

    Raises:
        InvalidFieldsError: one is none of its text.
    """
    given = request.chunking.spans
    if given is None:
        return None
    found = []
    for index, (text, spans) in enumerate(zip(request.input, given, strict=True)):
        own = np.array(spans, np.int64).reshape(-1, 2)
        if len(wrong := np.flatnonzero(own[:, 0] >= own[:, 1])):
            sentence = "does not end behind its start"
            raise _invalid_span(request, index, int(wrong[0]), sentence)
        try:
            found.append(Positions(text, request.offsets).codepoints(own))
        except SplitCharacterError as error:
            raise _invalid_span(request, index, error.index // 2, str(error)) from None
    return found


def _invalid_span(request: DocumentsRequest, index: int, span: int, sentence: str) -> Exception:
    name = f"chunking.spans.{index}.{span}"
    given = (request.chunking.spans or [])[index][span]
    shown = f"span {span} of {request.sent_as('input')}[{index}], {list(given)}: {sentence}."
    return invalid_field(name, shown, "span", list(given))


def _written(
    request: DocumentsRequest, read: TokenizedDocuments, pooled: Vectors, model: str
) -> bytes:
    """The answer, document by document: others of the process' threads run in between."""
    data = []
    for index, (document, (chunks, own)) in enumerate(
        zip(read.documents, read.vectors(pooled), strict=True)
    ):
        spans, positions = document.chunks.spans, Positions(document.text, request.offsets)
        written: dict[str, Any] = {"object": "document", "index": index}
        if (name := request.ids[index]) is not None:
            written["id"] = name
        if request.document_embedding:
            written["embedding"] = _encoded(request, own)[0]
        written["tokens"] = document.tokens
        written["chunks"] = [
            {"object": "chunk", "index": at, "start": start, "end": end, "tokens": count}
            for at, ((start, end), count) in enumerate(
                zip(positions.of(spans).tolist(), document.chunks.counts, strict=True)
            )
        ]
        for chunk, (start, end), vector in zip(
            written["chunks"], spans.tolist(), _encoded(request, chunks), strict=True
        ):
            if request.return_text:
                chunk["text"] = document.text[start:end]
            chunk["embedding"] = vector
        data.append(orjson.Fragment(vectors.to_json(written)))
    usage = {"prompt_tokens": read.tokens, "total_tokens": read.tokens}
    return vectors.to_json({"object": "list", "model": model, "usage": usage, "data": data})


def _encoded(request: DocumentsRequest, pooled: Vectors) -> list[Any]:
    embedded = vectors.cut(pooled, request.dimensions)
    if request.normalized:
        embedded = vectors.normalise(embedded)
    return vectors.encode(embedded, request.embedding_type)
