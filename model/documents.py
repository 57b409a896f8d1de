"""Documents: texts -> rows with a span for each chunk and one for the whole document.

With late chunking, a document is tokenised once and is one row (or several windows), and the
vectors of its chunks are pooled out of that. The span that begins with the document's first token
includes <s> and the instruction, the one that ends with its last token includes </s>, as for
late-chunked inputs (tokenizer.py). The document's vector is the mean over the whole row. Without
late chunking, each chunk is a row, and the whole document is another one.

C chunks, S spans, D hidden.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model.chunking import Chunking, Chunks, chunks_at, chunks_of
from model.offsets import TokenizedText, tokenize_with_offsets
from model.quoting import quoted
from model.rows import Row, TokenIds, Vectors
from model.tasks import Task
from model.tokenizer import SPECIAL_TOKENS, Tokenizer, TooManyTokensError
from model.unicode import Int64Array
from model.windows import SpanParts, default_overlap, windows

_NO_CHUNKS = np.empty((0, 2), np.int64)


class SpanError(ValueError):
    """A caller's span without a token: number `span` of text number `index`, counted from 0."""

    def __init__(self, sentence: str, index: int, span: int) -> None:
        super().__init__(sentence)
        self.index = index
        self.span = span


class ChunkTooLongError(TooManyTokensError):
    """Chunk number `chunk` of text number `index` is read alone and is over the model's limit."""

    def __init__(self, tokens: int, limit: int, index: int, chunk: int) -> None:
        sentence = f"a chunk has {tokens} tokens; read alone it may have at most {limit}."
        super().__init__(sentence, tokens, limit, inputs=1, index=index)
        self.chunk = chunk


class TooManyChunksError(ValueError):
    """The texts up to number `index` have `chunks` chunks, more than `limit`."""

    def __init__(self, chunks: int, limit: int, index: int) -> None:
        super().__init__(f"texts have {chunks} chunks and more; at most {limit} are taken.")
        self.chunks = chunks
        self.limit = limit
        self.index = index


class ChunksTooLargeError(ValueError):
    """The chunks of the texts up to number `index` have `tokens` tokens together, more than
    `limit`."""

    def __init__(self, tokens: int, limit: int, index: int) -> None:
        super().__init__(f"chunks have {tokens} tokens together; at most {limit} are taken.")
        self.tokens = tokens
        self.limit = limit
        self.index = index


@dataclass(frozen=True, slots=True)
class DocumentOptions:
    """How documents become rows.

    chunking: how each text is cut. late_chunking: false reads each chunk alone.
    document_vector: whether each document gets a vector, too. overlap: of windows, in tokens;
    None is `default_overlap`.
    max_chunk_tokens: of all chunks together, `Chunks.size`: the caller's may overlap, and each may
    be the whole text. spans: the caller's chunks of each text, (C, 2) in code points, in place of
    those of `chunking`.
    """

    chunking: Chunking
    late_chunking: bool = True
    document_vector: bool = True
    overlap: int | None = None
    max_document_tokens: int = 1 << 40
    max_chunks: int = 1 << 40
    max_chunk_tokens: int = 1 << 40
    spans: Sequence[Int64Array] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One text, its number of tokens, and its chunks."""

    text: str
    tokens: int
    chunks: Chunks


@dataclass(frozen=True, slots=True)
class TokenizedDocuments:
    """The rows of documents.

    tokens: the usage: those of all texts that are read, and two special ones a row before windows.
    parts: how windows are joined, if a document takes several.
    document_vectors: whether there is a span for each whole document.
    """

    documents: tuple[Document, ...]
    rows: tuple[Row, ...]
    tokens: int
    parts: SpanParts | None
    document_vectors: bool

    def vectors(self, embedded: Vectors) -> Iterator[tuple[Vectors, Vectors]]:
        """Vectors of the rows' spans (S, D) -> for each document the vectors of its chunks (C, D),
        and the document's: (1, D), or (0, D) if there is none."""
        joined = embedded if self.parts is None else self.parts.joined(embedded)
        start = 0
        for document in self.documents:
            end = start + len(document.chunks)
            yield joined[start:end], joined[end : end + self.document_vectors]
            start = end + self.document_vectors


def tokenize(
    texts: Sequence[str], task: Task, options: DocumentOptions, tokenizer: Tokenizer
) -> TokenizedDocuments:
    """Texts -> rows for `task`.

    Raises:
        TooManyTokensError: a document is too long.
        ChunkTooLongError: a chunk that is read alone is too long.
        TooManyChunksError: the documents together have more chunks than `max_chunks`.
        ChunksTooLargeError: the chunks together have more tokens than `max_chunk_tokens`.
        SpanError: a caller's span has no token.
    """
    documents, chunks, tokens = [], 0, 0
    rows = _RowBuilder(task, options, tokenizer)
    limit = options.max_document_tokens
    for index, each in enumerate(tokenize_with_offsets(texts, tokenizer, limit)):
        found = _chunks(index, each, options)
        chunks += len(found)
        if chunks > options.max_chunks:
            raise TooManyChunksError(chunks, options.max_chunks, index)
        tokens += found.size
        if tokens > options.max_chunk_tokens:
            raise ChunksTooLargeError(tokens, options.max_chunk_tokens, index)
        documents.append(Document(each.text, len(each.token_ids), found))
        rows.add(index, documents[-1], each.token_ids)
    return rows.build(tuple(documents))


def _chunks(index: int, text: TokenizedText, options: DocumentOptions) -> Chunks:
    # Chunks are found by bisection, which needs starts that never decrease.
    starts = np.maximum.accumulate(text.offsets[:, 0])
    if options.spans is None:
        return chunks_of(text.text, starts, options.chunking)
    chunks = chunks_at(options.spans[index], starts)
    if len(empty := np.flatnonzero(chunks.tokens[:, 0] >= chunks.tokens[:, 1])):
        characters = text.text[slice(*chunks.characters[empty[0]])]
        raise SpanError(f"{quoted(characters)} has no token of its own", index, int(empty[0]))
    return chunks


class _RowBuilder:
    """Collects the rows of documents, one document after the other."""

    def __init__(self, task: Task, options: DocumentOptions, tokenizer: Tokenizer) -> None:
        self._adapter = task.adapter
        self._options = options
        self._tokenizer = tokenizer
        self._instruction = tokenizer.ids([task.instruction])[0]
        self._front = 1 + len(self._instruction)
        self._longest = self._front + tokenizer.max_tokens + 1
        default = default_overlap(tokenizer.max_tokens)
        self._overlap = default if options.overlap is None else options.overlap
        self._rows: list[Row] = []
        self._parts: list[SpanParts] = []
        self._spans = 0
        self._tokens = 0
        # With late chunking the document's vector costs nothing, and each row needs a span.
        self._document_vectors = options.document_vector or options.late_chunking

    def add(self, index: int, document: Document, token_ids: TokenIds) -> None:
        """Add the rows of document number `index`."""
        if self._options.late_chunking:
            self._add(token_ids, document.chunks.tokens)
            return
        texts = [document.text[start:end] for start, end in document.chunks.characters]
        limit = self._tokenizer.max_tokens
        for chunk, ids in enumerate(self._tokenizer.ids(texts)):
            if len(ids) > limit:
                raise ChunkTooLongError(len(ids), limit, index, chunk)
            self._add(ids, _NO_CHUNKS)
        if self._document_vectors:
            self._add(token_ids, _NO_CHUNKS)

    def _add(self, token_ids: TokenIds, chunks: Int64Array) -> None:
        """Add a row with spans for `chunks` (C, 2), in its tokens, and one over all of it."""
        row_ids = self._tokenizer.with_special_tokens([self._instruction, token_ids])
        spans = chunks + self._front
        spans[chunks[:, 0] == 0, 0] = 0
        spans[chunks[:, 1] == len(token_ids), 1] = len(row_ids)
        whole = [[0, len(row_ids)]]
        row = Row(row_ids, self._adapter, np.concatenate([spans, whole]).astype(np.int32))
        self._tokens += len(token_ids) + SPECIAL_TOKENS
        rows, parts = windows(row, self._longest, self._overlap)
        self._rows += rows
        self._parts.append(SpanParts(parts.span + self._spans, parts.tokens))
        self._spans += len(row.spans)

    def build(self, documents: tuple[Document, ...]) -> TokenizedDocuments:
        """The rows of all documents that were added."""
        parts = None
        if len(self._rows) > len(self._parts):  # a document took several windows
            parts = SpanParts(
                np.concatenate([part.span for part in self._parts]),
                np.concatenate([part.tokens for part in self._parts]),
            )
        rows = tuple(self._rows)
        return TokenizedDocuments(documents, rows, self._tokens, parts, self._document_vectors)
