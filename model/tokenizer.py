"""Tokenizer: texts -> rows, with the limit of 8,192 tokens and the spans of late chunking.

The limit is `EncoderConfig.max_tokens`. `Tokenizer.rows` enforces it for texts and late-chunked
inputs, and model/documents.py for chunks that are read alone; longer documents take windows.

Every text is tokenised once and by itself, without special tokens; rows are joined from the ids.
That makes counts exact. It gives the same ids as tokenising the joined text, since the tokenizer
splits at white space first and an instruction ends with a space.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers

from model.config import CheckpointError, EncoderConfig
from model.rows import Row, TokenIds, Vectors
from model.tasks import Task
from model.unicode import well_formed
from model.windows import SpanParts, windows

# Characters that are tokenised at a time: meanwhile they take a hundred times the memory.
_CHARACTERS = 1_000_000
# The most, where no word begins: a text of one word may be as long as a body.
_MOST_CHARACTERS = 2_000_000
_WORD_START = re.compile(r"(?<=[ \n\u3000])[^\W_]")
# Letters and digits, none of which is one grapheme with a white space before it, but for two.
_STARTING = {"Lu", "Ll", "Lo", "Nd"}
_JOINING = "\u0e33\u0eb3"
# In no vocabulary: a code point that is no character.
_UNKNOWN = "\U0010ffff"
SPECIAL_TOKENS = 2  # <s> at the beginning of a row and </s> at its end


class TooManyTokensError(ValueError):
    """A text, or the sum of late-chunked inputs, has more than `limit` tokens.

    `index` is that of the text among `inputs` texts; None for late-chunked inputs. The message
    does not say how to ask for truncation or windows: that differs between HTTP and Python.
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

    late_chunking: all texts are one document.
    truncate: tokens over the limit are cut from the end instead of refused.
    overlap: a late-chunked document may have up to `max_document_tokens` tokens, over the model's
        limit; it is then read in windows that overlap by this many tokens.
    counting: no limits; the rows are for counting tokens and not for the encoder.
    """

    late_chunking: bool = False
    truncate: bool = False
    overlap: int | None = None
    max_document_tokens: int = 0
    counting: bool = False


@dataclass(frozen=True, slots=True)
class TokenizedInputs:
    """The rows of a request.

    tokens: the usage: the tokens of the texts without instructions, and two special tokens a text,
        or two for a late-chunked document, whatever its number of windows.
    input_tokens: the tokens of each text that are read.
    truncated: the indices of the inputs that were cut, in order.
    parts: how windows are joined, if a document takes several.
    span_of: (inputs,) the span of each input, if inputs share a span.
    """

    rows: tuple[Row, ...]
    tokens: int
    input_tokens: tuple[int, ...]
    truncated: tuple[int, ...] = ()
    parts: SpanParts | None = None
    span_of: npt.NDArray[np.int64] | None = None

    def vectors(self, embedded: Vectors) -> Vectors:
        """Vectors of the rows' spans (S, D) -> vectors of the inputs (inputs, D)."""
        joined = embedded if self.parts is None else self.parts.joined(embedded)
        return joined if self.span_of is None else joined[self.span_of]


_PLAIN = RowOptions()


def _pieces(text: str) -> Iterator[str]:
    """A text in pieces of some _CHARACTERS, cut before words, whose tokens are those of the text;
    only where none begins for _MOST_CHARACTERS is it cut anywhere."""
    start = 0
    while len(text) - start > _CHARACTERS:
        cut = _word_start(text, start + _CHARACTERS, start + _MOST_CHARACTERS)
        if cut is None:
            break
        yield text[start:cut]
        start = cut
    yield text[start:]


def _word_start(text: str, start: int, stop: int) -> int | None:
    """Where a word begins in text[start:stop], else `stop`; None if the text ends before that."""
    for word in _WORD_START.finditer(text, start, stop):
        if unicodedata.category(word[0]) in _STARTING and word[0] not in _JOINING:
            return word.start()
    return stop if stop < len(text) else None


def in_pieces(
    texts: Sequence[str], encode: Callable[[list[str]], list[tokenizers.Encoding]]
) -> Iterator[tuple[str, Iterator[tuple[int, tokenizers.Encoding]]]]:
    """Each text, well-formed, with the encodings of its pieces and where in it each begins.

    Texts of at most _CHARACTERS together are encoded in one call, a longer one a piece at a time:
    convert an encoding before you take the next one, so that only one is in memory.
    """

    def of_long(text: str) -> Iterator[tuple[int, tokenizers.Encoding]]:
        begin = 0
        for piece in _pieces(text):
            yield begin, encode([piece])[0]
            begin += len(piece)

    for start, stop in _slices(texts):
        clean = [well_formed(text) for text in texts[start:stop]]
        if len(clean) == 1:
            yield clean[0], of_long(clean[0])
        else:
            for text, encoding in zip(clean, encode(clean), strict=True):
                yield text, iter([(0, encoding)])


def _slices(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges [start, stop) of texts with at most _CHARACTERS together, or of one longer text."""
    start, characters = 0, 0
    for index, text in enumerate(texts):
        if index > start and characters + len(text) > _CHARACTERS:
            yield start, index
            start, characters = index, 0
        characters += len(text)
    yield start, len(texts)


class Tokenizer:
    """XLM-RoBERTa's tokenizer, as the checkpoint's tokenizer.json describes it. Thread-safe."""

    def __init__(self, folder: Path, config: EncoderConfig) -> None:
        """Read `folder`/tokenizer.json.

        Raises:
            CheckpointError: the file is missing or damaged, or does not fit the model's config.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(f"{folder} has no tokenizer.json.")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # noqa: BLE001  (the library raises nothing narrower)
            raise CheckpointError(f"{path} cannot be read: {error}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._config = config
        self._instructions: dict[str, TokenIds] = {}
        self.max_tokens = config.max_tokens  # of a text, without special tokens and instruction
        self._check()

    def _check(self) -> None:
        size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        if size > self._config.vocab_size:
            raise CheckpointError(
                f"tokenizer.json has {size} tokens, the model's table {self._config.vocab_size}."
            )
        token, largest = self._largest_id()
        if largest >= self._config.vocab_size:
            raise CheckpointError(
                f"tokenizer.json gives {token} the id {largest}, and the model's table has ids up "
                f"to {self._config.vocab_size - 1}."
            )
        special = {"<s>": self._config.bos_token_id, "</s>": self._config.eos_token_id}
        for token, expected in special.items():
            if (found := self._tokenizer.token_to_id(token)) != expected:
                raise CheckpointError(
                    f"tokenizer.json gives {token} the id {found}, config.json {expected}."
                )
        try:
            self._encode([_UNKNOWN])
        except Exception as error:  # noqa: BLE001  (the library raises nothing narrower)
            raise CheckpointError(
                f"tokenizer.json has no token for what is not in its vocabulary: {error}."
            ) from None

    def _largest_id(self) -> tuple[str, int]:
        """A token and its id, the largest one that can be over the number of tokens."""
        if isinstance(self._tokenizer.model, tokenizers.models.Unigram):
            # Its pieces are numbered from 0, and listing all of them would take 0.2 s.
            added = self._tokenizer.get_added_tokens_decoder()
            ids = {token.content: token_id for token_id, token in added.items()}
        else:
            ids = self._tokenizer.get_vocab(with_added_tokens=True)
        return max(ids.items(), key=itemgetter(1), default=("", -1))

    def ids(self, texts: list[str]) -> list[TokenIds]:
        """The token ids (tokens,) int32 of each text, without special tokens. A lone surrogate is
        read as U+FFFD."""
        found = []
        for _, encodings in in_pieces(texts, self._encode):
            parts = [np.array(encoding.ids, dtype=np.int32) for _, encoding in encodings]
            found.append(np.concatenate(parts) if len(parts) > 1 else parts[0])
        return found

    def _encode(self, texts: list[str]) -> list[tokenizers.Encoding]:
        """Without offsets, which are not computed."""
        return self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)

    def encodings(self, texts: list[str]) -> list[tokenizers.Encoding]:
        """The same with offsets; the texts must have no lone surrogates."""
        return self._tokenizer.encode_batch(texts, add_special_tokens=False)

    def rows(self, texts: list[str], task: Task, options: RowOptions = _PLAIN) -> TokenizedInputs:
        """Texts -> rows for `task`: one row a text, or with late chunking one document of all.

        Raises:
            TooManyTokensError: a text, or with late chunking the sum of all, is over the limit, and
                `truncate` is false.
        """
        inputs = self.ids(texts)
        instruction = self._instruction(task.instruction)
        if options.late_chunking:
            return self._document(inputs, task, instruction, options)
        truncated = () if options.counting else self._over(inputs, options)
        for index in truncated:
            inputs[index] = inputs[index][: self.max_tokens]
        rows = tuple(
            Row.single_span(self.with_special_tokens([instruction, ids]), task.adapter)
            for ids in inputs
        )
        counts = tuple(map(len, inputs))
        return TokenizedInputs(rows, sum(counts) + SPECIAL_TOKENS * len(rows), counts, truncated)

    def _instruction(self, text: str) -> TokenIds:
        """The token ids of a task's instruction, which are asked for again and again."""
        if (ids := self._instructions.get(text)) is None:
            ids = self._instructions[text] = self.ids([text])[0]
        return ids

    def _over(self, inputs: list[TokenIds], options: RowOptions) -> tuple[int, ...]:
        """The indices of the inputs over the limit, which are refused if not truncated."""
        limit = self.max_tokens
        over = tuple(index for index, ids in enumerate(inputs) if len(ids) > limit)
        if over and not options.truncate:
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
        self, inputs: list[TokenIds], task: Task, instruction: TokenIds, options: RowOptions
    ) -> TokenizedInputs:
        """All inputs as one row, or several windows of it, with a span for each input.

        The first span includes <s> and the instruction, the last one </s>, as in the reference
        implementation (jina-ai/late-chunking, _extend_special_tokens). Inputs without a token,
        because they are empty or were truncated, share one span over the whole row.
        """
        limit = self._document_limit(inputs, options)
        lengths = np.array([len(ids) for ids in inputs])
        ends = np.cumsum(lengths)
        stops = np.minimum(ends, limit)
        starts = np.concatenate([[0], stops[:-1]])
        front = 1 + len(instruction)
        token_ids = self.with_special_tokens([instruction, *inputs], limit=front + limit)
        spans = np.stack([starts + front, stops + front], axis=1)
        spans[0, 0] = 0
        spans[-1, 1] = len(token_ids)
        span_of = None
        if (empty := starts == stops).any():
            spans[empty] = 0, len(token_ids)
            spans, span_of = np.unique(spans, axis=0, return_inverse=True)
            span_of = span_of.reshape(-1)
        rows: tuple[Row, ...] = (Row(token_ids, task.adapter, spans.astype(np.int32)),)
        parts = None
        longest = front + self.max_tokens + 1
        if len(token_ids) > longest and options.overlap is not None:
            rows, parts = windows(rows[0], longest, options.overlap)
        return TokenizedInputs(
            rows,
            int(stops[-1]) + SPECIAL_TOKENS,
            tuple((stops - starts).tolist()),
            tuple(np.flatnonzero(lengths > stops - starts).tolist()),
            parts,
            span_of,
        )

    def _document_limit(self, inputs: list[TokenIds], options: RowOptions) -> int:
        """The limit of a document in tokens; a longer one is refused if not truncated."""
        total, limit = sum(map(len, inputs)), self.max_tokens
        if options.overlap is not None:
            limit = max(limit, options.max_document_tokens)
        if total > limit and not options.truncate:
            raise TooManyTokensError(
                f"late chunking reads all inputs as one document of at most {limit} tokens; these "
                f"{len(inputs)} inputs have {total}.",
                total,
                limit,
                inputs=len(inputs),
            )
        return limit

    def with_special_tokens(self, parts: list[TokenIds], limit: int | None = None) -> TokenIds:
        """<s>, the parts, </s>; before </s> at most `limit` tokens, <s> included."""
        bos, eos = [self._config.bos_token_id], [self._config.eos_token_id]
        front = np.concatenate([bos, *parts])[:limit]
        return np.concatenate([front, eos]).astype(np.int32)
