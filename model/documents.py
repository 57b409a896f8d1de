"""Documents: texts -> rows with a span for each chunk, and one for the whole text.

Each text is tokenised once and whole, and a chunk's vector is pooled out of that reading (late
chunking). The span that begins with the text's first token includes <s> and the instruction, the
one that ends with its last token </s>, as for late-chunked inputs (tokenizer.py); a document's own
vector is the mean over its whole row. With `late_chunking` false each chunk is a row, and so is the
whole text.

C chunks, S spans, D hidden.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model.chunking import Chunking, Chunks, Ints, chunks_at, chunks_of
from model.offsets import TokenizedText, tokenize_with_offsets
from model.quoting import quoted
from model.rows import Row, TokenIds, Vectors
from model.tasks import Task
from model.tokenizer import SPECIAL_TOKENS, Tokenizer, TooManyTokensError
from model.windows import SpanParts, windows

_NONE = np.empty((0, 2), np.int64)
# By how many tokens windows of a document overlap that is longer than the model reads.
DEFAULT_OVERLAP = 256


class SpanError(ValueError):
    """A caller's span that is no chunk: `span` of the text `index`, both counted from 0."""

    def __init__(self, sentence: str, index: int, span: int) -> None:
        super().__init__(sentence)
        self.index = index
        self.span = span


class ChunkTooLongError(TooManyTokensError):
    """The `chunk` of the text `index` has more tokens than the model reads, and is read alone."""

    def __init__(self, tokens: int, limit: int, index: int, chunk: int) -> None:
        sentence = f"a chunk has {tokens} tokens; read alone it may have at most {limit}."
        super().__init__(sentence, tokens, limit, inputs=1, index=index)
        self.chunk = chunk


class TooManyChunksError(ValueError):
    """The texts up to `index` have so many `chunks`, and a caller takes at most `limit`."""

    def __init__(self, chunks: int, limit: int, index: int) -> None:
        super().__init__(f"texts have {chunks} chunks and more; at most {limit} are taken.")
        self.chunks = chunks
        self.limit = limit
        self.index = index


@dataclass(frozen=True, slots=True)
class DocumentOptions:
    """How documents become rows. `overlap` (tokens) is that of windows; `spans` has for each text
    the caller's own, (C, 2) in code points, in place of those that `chunking` would give."""

    chunking: Chunking
    late_chunking: bool = True
    document_vector: bool = True
    overlap: int = DEFAULT_OVERLAP
    max_document_tokens: int = 1 << 40
    max_chunks: int = 1 << 40
    spans: Sequence[Ints] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One text, how many tokens it has, and its chunks."""

    text: str
    tokens: int
    chunks: Chunks


@dataclass(frozen=True, slots=True)
class TokenizedDocuments:
    """The rows of documents. `tokens` is what is charged: those of all texts that are read, and two
    special tokens a row that was asked for. `parts` is there where a document took several windows;
    `whole` says that the documents have vectors of their own."""

    documents: tuple[Document, ...]
    rows: tuple[Row, ...]
    tokens: int
    parts: SpanParts | None
    whole: bool

    def vectors(self, embedded: Vectors) -> Iterator[tuple[Vectors, Vectors]]:
        """The vectors of the rows' spans -> for each document those of its chunks (C, D) and its
        own: (1, D), or (0, D) where none was asked for."""
        joined = embedded if self.parts is None else self.parts.joined(embedded)
        at, own = 0, int(self.whole)
        for document in self.documents:
            end = at + len(document.chunks)
            yield joined[at:end], joined[end : end + own]
            at = end + own


def tokenize(
    texts: Sequence[str], task: Task, reading: DocumentOptions, tokenizer: Tokenizer
) -> TokenizedDocuments:
    """Texts -> rows for `task`.

    Raises:
        TooManyTokensError: a document is too long.
        ChunkTooLongError: a chunk is, where `late_chunking` is false.
        TooManyChunksError: the documents have more chunks than are taken.
        SpanError: a caller's span has no token.
    """
    documents, chunks = [], 0
    rows = _Rows(task, reading, tokenizer)
    limit = reading.max_document_tokens
    for index, each in enumerate(tokenize_with_offsets(texts, tokenizer, limit)):
        own = _chunks(index, each, reading)
        chunks += len(own)
        if chunks > reading.max_chunks:
            raise TooManyChunksError(chunks, reading.max_chunks, index)
        documents.append(Document(each.text, len(each.token_ids), own))
        rows.add(index, documents[-1], each.token_ids)
    return rows.together(tuple(documents))


def _chunks(index: int, encoded: TokenizedText, reading: DocumentOptions) -> Chunks:
    # A token never begins before the last one; chunks are found by bisection.
    starts = np.maximum.accumulate(encoded.offsets[:, 0])
    if reading.spans is None:
        return chunks_of(encoded.text, starts, reading.chunking)
    chunks = chunks_at(reading.spans[index], starts)
    if len(bare := np.flatnonzero(chunks.tokens[:, 0] >= chunks.tokens[:, 1])):
        text = encoded.text[slice(*chunks.spans[bare[0]])]
        raise SpanError(f"{quoted(text)} has no token of its own", index, int(bare[0]))
    return chunks


class _Rows:
    """The rows of documents, as they come."""

    def __init__(self, task: Task, reading: DocumentOptions, tokenizer: Tokenizer) -> None:
        self._adapter = task.adapter
        self._reading = reading
        self._tokenizer = tokenizer
        self._instruction = tokenizer.ids([task.instruction])[0]
        self._front = 1 + len(self._instruction)
        self._longest = self._front + tokenizer.max_tokens + 1
        self._rows: list[Row] = []
        self._parts: list[SpanParts] = []
        self._spans = 0
        self._tokens = 0
        # A late-chunked document's own vector costs nothing, and its row is never without a span.
        self._whole = reading.document_vector or reading.late_chunking

    def add(self, index: int, document: Document, token_ids: TokenIds) -> None:
        """The document of that index."""
        if self._reading.late_chunking:
            self._add(token_ids, document.chunks.tokens)
            return
        texts = [document.text[start:end] for start, end in document.chunks.spans]
        limit = self._tokenizer.max_tokens
        for chunk, ids in enumerate(self._tokenizer.ids(texts)):
            if len(ids) > limit:
                raise ChunkTooLongError(len(ids), limit, index, chunk)
            self._add(ids, _NONE)
        if self._whole:
            self._add(token_ids, _NONE)

    def _add(self, token_ids: TokenIds, chunks: Ints) -> None:
        """A row with spans for chunks of its tokens (C, 2), and one over all of it if asked for."""
        row_ids = self._tokenizer.with_special_tokens([self._instruction, token_ids])
        spans = chunks + self._front
        spans[chunks[:, 0] == 0, 0] = 0
        spans[chunks[:, 1] == len(token_ids), 1] = len(row_ids)
        whole = [[0, len(row_ids)]]
        row = Row(row_ids, self._adapter, np.concatenate([spans, whole]).astype(np.int32))
        self._tokens += len(token_ids) + SPECIAL_TOKENS
        rows, parts = windows(row, self._longest, self._reading.overlap)
        self._rows += rows
        self._parts.append(SpanParts(parts.span + self._spans, parts.tokens))
        self._spans += len(row.spans)

    def together(self, documents: tuple[Document, ...]) -> TokenizedDocuments:
        """All that were added."""
        parts = None
        if len(self._rows) > len(self._parts):  # some took several windows
            parts = SpanParts(
                np.concatenate([part.span for part in self._parts]),
                np.concatenate([part.tokens for part in self._parts]),
            )
        rows = tuple(self._rows)
        return TokenizedDocuments(documents, rows, self._tokens, parts, self._whole)
