"""Tokenizer: texts -> rows, counted against the model's limit, with spans for late chunking.

Every text is tokenised once and by itself, without special tokens; rows are put together from the
ids. That makes counting exact and is the same as tokenising the joined text, since the tokenizer
splits at white space first and an instruction ends with a space.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers

from model.config import CheckpointError, EncoderConfig
from model.rows import Row, TokenIds, Vectors
from model.tasks import Task
from model.unicode import well_formed
from model.windows import SpanParts, windows

SPECIAL_TOKENS = 2  # <s> in front of a row and </s> behind it


class TooManyTokensError(ValueError):
    """A text, or the sum of a late-chunked document, is over the model's limit (in tokens).

    `index` is the text's among so many `inputs`; None for a document. How a caller asks for
    truncation or windows is not said here: HTTP has other words than Python.
    """

    def __init__(
        self, sentence: str, tokens: int, limit: int, *, inputs: int, index: int | None = None
    ) -> None:
        super().__init__(sentence)
        self.tokens = tokens
        self.limit = limit
        self.inputs = inputs
        self.index = index


@dataclass(frozen=True, slots=True)
class RowOptions:
    """How texts become rows.

    With `late_chunking` all texts are one document. With `truncate` what is over the limit is cut
    from the end instead of refused. With `overlap` (tokens) a late-chunked document may be longer
    than the model reads: up to `max_document_tokens`, in windows that overlap by so much. With
    `counting` there are no limits: the rows are for looking at, not for the encoder.
    """

    late_chunking: bool = False
    truncate: bool = False
    overlap: int | None = None
    max_document_tokens: int = 0
    counting: bool = False


@dataclass(frozen=True, slots=True)
class TokenizedInputs:
    """The rows of a request.

    `tokens` is what is charged: the texts' own tokens and two special tokens a row, without the
    instructions; `input_tokens` are each text's own that are read. `truncated` has the indices of
    the inputs that were cut, in order. `parts` is there where a document took several windows, and
    `span_of` (inputs,) where inputs share a span.
    """

    rows: tuple[Row, ...]
    tokens: int
    input_tokens: tuple[int, ...]
    truncated: tuple[int, ...] = ()
    parts: SpanParts | None = None
    span_of: npt.NDArray[np.int64] | None = None

    def vectors(self, embedded: Vectors) -> Vectors:
        """The vectors of the rows' spans -> one vector for each input."""
        joined = embedded if self.parts is None else self.parts.joined(embedded)
        return joined if self.span_of is None else joined[self.span_of]


PLAIN = RowOptions()


class Tokenizer:
    """XLM-RoBERTa's tokenizer, as the checkpoint's tokenizer.json describes it. Thread-safe."""

    def __init__(self, folder: Path, config: EncoderConfig) -> None:
        """Read `folder`/tokenizer.json.

        Raises:
            CheckpointError: the file is missing, or does not fit the model's config.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(f"{folder} has no tokenizer.json.")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._config = config
        self._check()

    def _check(self) -> None:
        size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        if size > self._config.vocab_size:
            raise CheckpointError(
                f"tokenizer.json has {size} tokens, the model's table {self._config.vocab_size}."
            )
        for token, expected in (
            ("<s>", self._config.bos_token_id),
            ("</s>", self._config.eos_token_id),
        ):
            if self._tokenizer.token_to_id(token) != expected:
                raise CheckpointError(
                    f"tokenizer.json gives {token} the id {self._tokenizer.token_to_id(token)}, "
                    f"config.json {expected}."
                )

    def ids(self, texts: list[str]) -> list[TokenIds]:
        """The token ids of each text, without special tokens: (tokens,) int32 each.

        A lone surrogate is read as U+FFFD.
        """
        clean = [well_formed(text) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def encodings(self, texts: list[str]) -> list[tokenizers.Encoding]:
        """The same with offsets, of well-formed texts."""
        return self._tokenizer.encode_batch(texts, add_special_tokens=False)

    def rows(self, texts: list[str], task: Task, reading: RowOptions = PLAIN) -> TokenizedInputs:
        """Texts -> rows for `task`: one row a text, or one document of all with late chunking.

        Raises:
            TooManyTokensError: a text, or with late chunking their sum, is over the limit and
                truncation is not asked for.
        """
        inputs = self.ids(texts)
        instruction = self.ids([task.instruction])[0]
        if reading.late_chunking:
            return self._document(inputs, task, instruction, reading)
        truncated = () if reading.counting else self._over(inputs, reading)
        for index in truncated:
            inputs[index] = inputs[index][: self._config.max_tokens]
        rows = tuple(
            Row.single_span(self.with_special_tokens([instruction, ids]), task.adapter)
            for ids in inputs
        )
        counts = tuple(map(len, inputs))
        return TokenizedInputs(rows, sum(counts) + SPECIAL_TOKENS * len(rows), counts, truncated)

    def _over(self, inputs: list[TokenIds], reading: RowOptions) -> tuple[int, ...]:
        limit = self._config.max_tokens
        over = tuple(index for index, ids in enumerate(inputs) if len(ids) > limit)
        if over and not reading.truncate:
            tokens = len(inputs[over[0]])
            raise TooManyTokensError(
                f"texts[{over[0]}] has {tokens} tokens; this model reads at most {limit}.",
                tokens,
                limit,
                inputs=len(inputs),
                index=over[0],
            )
        return over

    def _document(
        self, inputs: list[TokenIds], task: Task, instruction: TokenIds, reading: RowOptions
    ) -> TokenizedInputs:
        """All inputs as one row, or several windows of it, with a span for each input.

        The first span includes <s> and the instruction, the last one </s>, as in the reference
        implementation (jina-ai/late-chunking, _extend_special_tokens). An input that has no token
        of its own, being empty or wholly cut off, gets the mean of the whole row, which is pooled
        once for all of these.
        """
        limit = self._document_limit(inputs, reading)
        ends = np.cumsum([len(ids) for ids in inputs])
        stops = np.minimum(ends, limit)
        starts = np.concatenate([[0], stops[:-1]])
        front = 1 + len(instruction)
        token_ids = self.with_special_tokens([instruction, *inputs], limit=front + limit)
        spans = np.stack([starts + front, stops + front], axis=1)
        spans[0, 0] = 0
        spans[-1, 1] = len(token_ids)
        span_of = None
        if (bare := starts == stops).any():
            spans[bare] = 0, len(token_ids)
            spans, span_of = np.unique(spans, axis=0, return_inverse=True)
            span_of = span_of.reshape(-1)
        rows: tuple[Row, ...] = (Row(token_ids, task.adapter, spans.astype(np.int32)),)
        parts = None
        longest = front + self._config.max_tokens + 1
        if len(token_ids) > longest and reading.overlap is not None:
            rows, parts = windows(rows[0], longest, reading.overlap)
        return TokenizedInputs(
            rows,
            int(stops[-1]) + SPECIAL_TOKENS,
            tuple((stops - starts).tolist()),
            tuple(np.flatnonzero(ends > limit).tolist()),
            parts,
            span_of,
        )

    def _document_limit(self, inputs: list[TokenIds], reading: RowOptions) -> int:
        """The tokens of a document that are read.

        Raises:
            TooManyTokensError: the document has more, and truncation is not asked for.
        """
        total, limit = sum(map(len, inputs)), self._config.max_tokens
        if reading.overlap is not None:
            limit = max(limit, reading.max_document_tokens)
        if total > limit and not reading.truncate:
            raise TooManyTokensError(
                f"late chunking reads all inputs as one document of at most {limit} tokens; these "
                f"{len(inputs)} inputs have {total}.",
                total,
                limit,
                inputs=len(inputs),
            )
        return limit

    @property
    def max_tokens(self) -> int:
        """The longest text in tokens, without special tokens and instruction."""
        return self._config.max_tokens

    def with_special_tokens(self, parts: list[TokenIds], limit: int | None = None) -> TokenIds:
        """<s>, the parts up to `limit` tokens counted from <s>, </s>."""
        bos, eos = [self._config.bos_token_id], [self._config.eos_token_id]
        front = np.concatenate([bos, *parts])[:limit]
        return np.concatenate([front, eos]).astype(np.int32)
