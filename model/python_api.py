"""Python API: `embed_texts` and `embed_documents`, the methods that `Embedder` inherits.

n texts, S spans, D hidden.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model import documents
from model.arguments import (
    check_flags,
    checked_chunking,
    checked_overlap,
    checked_spans,
    rows_of,
    texts_of,
    whole_number,
)
from model.config import EncoderConfig
from model.documents import DocumentOptions
from model.rows import Row, Vectors, normalised
from model.tasks import DEFAULT_TASK, PASSAGE_TASK, Tasks
from model.tokenizer import RowOptions, Tokenizer

# In tokens: unlike in the service, a document that is read in windows may have any length.
_ANY_LENGTH = 1 << 40

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedChunk:
    """A chunk: `text` is the document's from `start` to `end` (code points), `tokens` is the number
    of tokens that begin in it, `vector` (dimensions,) has length 1."""

    start: int
    end: int
    text: str
    tokens: int
    vector: Vector


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedDocument:
    """A document: its number of tokens, the unit vector (dimensions,) of the whole, and its chunks
    in order. A text without a token has no chunks."""

    text: str
    tokens: int
    vector: Vector
    chunks: tuple[EmbeddedChunk, ...]


class PythonApi(ABC):
    """Texts and documents -> unit vectors, by a subclass that embeds rows."""

    config: EncoderConfig
    tokenizer: Tokenizer
    tasks: Tasks
    dtype: str  # of the weights: float32, bfloat16 or float16

    @abstractmethod
    def embed(
        self,
        rows: Sequence[Row],
        max_batch_tokens: int | None = None,
        *,
        progress: bool | None = False,
    ) -> Vectors:
        """Rows -> vectors (S, D) float32, one for each span, in order, not normalised."""

    def embed_texts(  # noqa: PLR0913  (all but the first two go by name)
        self,
        texts: str | Iterable[str],
        task: str = DEFAULT_TASK,
        *,
        late_chunking: bool = False,
        late_chunking_overlap: int | None = None,
        dimensions: int | None = None,
        truncate: bool = False,
        progress: bool | None = None,
    ) -> Vectors:
        """Texts -> unit vectors (n, dimensions or D) float32, one for each of n texts, in order.

        `texts` is a list, an array, a column of a table or any other iterable of str; a single str
        is one text. `task` is one of `tasks.names`, or "none" for the base model without adapter
        and instruction. With `late_chunking` all texts are one document, and each vector is pooled
        out of the shared context; with `late_chunking_overlap` (tokens, from 0 to half of the
        model's limit) a document over the limit is read in windows. Vectors are cut to
        `dimensions`, from 1 to D, and then normalised. `truncate` cuts texts at the model's limit.
        `progress` shows a bar on standard error; None shows it if that is a terminal.

        Raises:
            TypeError, ValueError: an argument is of another type, or out of range.
            UnknownTaskError: the model has no such task.
            TooManyTokensError: a text, or the document, is over the model's limit.
            FloatingPointError: a vector is not finite, as float16 may overflow.
        """
        if dimensions is not None:
            dimensions = whole_number("dimensions", dimensions, 1, self.config.hidden_size)
        check_flags(late_chunking=late_chunking, truncate=truncate)
        overlap = checked_overlap(late_chunking_overlap, self.config, late_chunking=late_chunking)
        options = RowOptions(late_chunking, truncate, overlap, _ANY_LENGTH)
        inputs = rows_of(texts_of(texts), self.tasks.by_argument(task), options, self.tokenizer)
        vectors = inputs.vectors(self.embed(inputs.rows, progress=progress))
        self._check_finite(vectors)
        return normalised(vectors[:, :dimensions])  # cut first: cutting shortens a vector

    def embed_documents(  # noqa: PLR0913  (all but the first two go by name)
        self,
        texts: str | Iterable[str],
        task: str = PASSAGE_TASK,
        *,
        by: str = "sentences",
        max_tokens: int = 256,
        min_tokens: int = 0,
        overlap: int = 0,
        spans: Sequence[Sequence[tuple[int, int]]] | None = None,
        late_chunking: bool = True,
        late_chunking_overlap: int | None = None,
        dimensions: int | None = None,
        progress: bool | None = None,
    ) -> list[EmbeddedDocument]:
        """Texts -> their chunks and their own vectors, as POST /v1/documents gives them.

        Each text is cut `by` "sentences", "markdown", "tokens" or "spans", into chunks of at most
        `max_tokens`. With `min_tokens` 0 they are filled, with 1 each sentence is a chunk, and with
        more, short sentences are joined up to that many tokens. The last `overlap` tokens of a
        chunk are repeated in the next one. `spans` has for each text its chunks as (start, end) in
        code points. A text is read once and its chunks are pooled out of that; over the model's
        limit it is read in windows that overlap by `late_chunking_overlap` tokens: 256, or half of
        the limit if that is less. Without `late_chunking` each chunk is read alone. The other
        arguments are those of `embed_texts`.

        Raises:
            TypeError, ValueError: an argument is of another type, or out of range.
            UnknownTaskError: the model has no such task.
            SpanError: a span has no token.
            ChunkTooLongError: a chunk that is read alone is over the model's limit.
            FloatingPointError: a vector is not finite, as float16 may overflow.
        """
        check_flags(late_chunking=late_chunking)
        if dimensions is not None:
            dimensions = whole_number("dimensions", dimensions, 1, self.config.hidden_size)
        window_overlap = checked_overlap(late_chunking_overlap, self.config, late_chunking=True)
        clean = texts_of(texts)
        options = DocumentOptions(
            checked_chunking(by, (max_tokens, min_tokens, overlap), self.config),
            late_chunking=late_chunking,
            overlap=window_overlap,
            spans=checked_spans(by, spans, clean),
        )
        tokenized = documents.tokenize(clean, self.tasks.by_argument(task), options, self.tokenizer)
        pooled = self.embed(tokenized.rows, progress=progress)
        embedded = zip(tokenized.documents, tokenized.vectors(pooled), strict=True)
        found = []
        for index, (document, vectors) in enumerate(embedded):
            cut, joined = document.chunks, np.concatenate(vectors)
            self._check_finite(joined, index)
            unit = normalised(joined[:, :dimensions])
            chunks = tuple(
                EmbeddedChunk(start, end, document.text[start:end], tokens, vector)
                for (start, end), tokens, vector in zip(
                    cut.characters.tolist(), cut.counts, unit[:-1], strict=True
                )
            )
            found.append(EmbeddedDocument(document.text, document.tokens, unit[-1], chunks))
        return found

    def _check_finite(self, vectors: Vectors, index: int | None = None) -> None:
        """Raise FloatingPointError if one is not; `index` is the text's if all are of one text."""
        if len(bad := np.flatnonzero(~np.isfinite(vectors).all(axis=1))):
            text = bad[0] if index is None else index
            raise FloatingPointError(
                f"the model's numbers for texts[{text}] are not finite in {self.dtype}."
            )
