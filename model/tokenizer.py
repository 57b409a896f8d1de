"""Tokenizer: texts -> rows, counted against the model's limit, with spans for late chunking.

Every text is tokenised once and by itself, without special tokens; rows are put together from the
ids. That makes counting exact and is the same as tokenising the joined text, since the tokenizer
splits at white space first and an instruction ends with a space.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers

from model.config import CheckpointError, EncoderConfig
from model.rows import Row, TokenIds
from model.tasks import Task

SPECIAL_TOKENS = 2  # <s> in front of a row and </s> behind it


class TooManyTokensError(ValueError):
    """A text, or the sum of a late-chunked document, is over the model's limit (in tokens)."""

    def __init__(self, sentence: str, tokens: int, limit: int) -> None:
        super().__init__(sentence)
        self.tokens = tokens
        self.limit = limit


@dataclass(frozen=True, slots=True)
class TokenizedInputs:
    """The rows of a request.

    `tokens` is what is charged: the texts' own tokens and two special tokens a row, without the
    instructions. `truncated` has the indices of the inputs that were cut, in order.
    """

    rows: tuple[Row, ...]
    tokens: int
    truncated: tuple[int, ...] = ()


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
        """The token ids of each text, without special tokens: (tokens,) int32 each."""
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def rows(
        self, texts: list[str], task: Task, *, late_chunking: bool = False, truncate: bool = False
    ) -> TokenizedInputs:
        """Texts -> rows for `task`: one row a text, or one row for all with `late_chunking`.

        Raises:
            TooManyTokensError: a text, or with late chunking their sum, is over the limit and
                `truncate` is false. With it, what is over is cut from the end.
        """
        inputs = self.ids(texts)
        instruction = self.ids([task.instruction])[0]
        if late_chunking:
            return self._document(inputs, task, instruction, truncate)
        truncated = self._over(inputs, truncate)
        inputs = [ids[: self._config.max_tokens] for ids in inputs]
        rows = tuple(Row.whole(self._framed([instruction, ids]), task.adapter) for ids in inputs)
        tokens = sum(map(len, inputs)) + SPECIAL_TOKENS * len(rows)
        return TokenizedInputs(rows, tokens, truncated)

    def _over(self, inputs: list[TokenIds], truncate: bool) -> tuple[int, ...]:
        limit = self._config.max_tokens
        over = tuple(index for index, ids in enumerate(inputs) if len(ids) > limit)
        if over and not truncate:
            tokens = len(inputs[over[0]])
            raise TooManyTokensError(
                f"input[{over[0]}] has {tokens} tokens; this model reads at most {limit} "
                '(send "truncate": true to cut at the limit).',
                tokens,
                limit,
            )
        return over

    def _document(
        self, inputs: list[TokenIds], task: Task, instruction: TokenIds, truncate: bool
    ) -> TokenizedInputs:
        """All inputs as one row, with a span for each of them.

        The first span includes <s> and the instruction, the last one </s>, as in the reference
        implementation (jina-ai/late-chunking, _extend_special_tokens). An input that has no token
        of its own, being empty or wholly cut off, gets the mean of the whole row.
        """
        limit, total = self._config.max_tokens, sum(map(len, inputs))
        if total > limit and not truncate:
            raise TooManyTokensError(
                f"late chunking reads all inputs as one document of at most {limit} tokens; these "
                f'{len(inputs)} inputs have {total} (send "truncate": true to cut at the limit).',
                total,
                limit,
            )
        ends = np.cumsum([len(ids) for ids in inputs])
        stops = np.minimum(ends, limit)
        starts = np.concatenate([[0], stops[:-1]])
        empty = starts == stops
        front = 1 + len(instruction)
        token_ids = self._framed([instruction, *inputs], limit=front + limit)
        spans = np.stack([starts + front, stops + front], axis=1)
        spans[0, 0] = 0
        spans[-1, 1] = len(token_ids)
        spans[empty] = 0, len(token_ids)
        row = Row(token_ids, task.adapter, spans.astype(np.int32))
        truncated = tuple(int(index) for index in np.flatnonzero(ends > limit))
        return TokenizedInputs((row,), int(stops[-1]) + SPECIAL_TOKENS, truncated)

    def _framed(self, parts: list[TokenIds], limit: int | None = None) -> TokenIds:
        """<s>, the parts up to `limit` tokens counted from <s>, </s>."""
        bos, eos = [self._config.bos_token_id], [self._config.eos_token_id]
        front = np.concatenate([bos, *parts])[:limit]
        return np.concatenate([front, eos]).astype(np.int32)
