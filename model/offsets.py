"""Offsets: texts -> token ids with the characters that each token covers."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import tokenizers

from model.rows import TokenIds
from model.tokenizer import Tokenizer, TooManyTokensError, in_pieces

# XLM-RoBERTa's normaliser deletes control characters. Where a text begins with one, or what follows
# a special token does, tokenizers 0.23 gives offsets that are one too small from there on. With
# line ends in their place the tokens are the same and the offsets right: unlike a space, a line end
# is no grapheme with a combining mark behind it, as a control character is none.
_DELETED = r"\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f"
_DELETED_AT_START = re.compile(
    rf"(?:\A|(?<=<s>)|(?<=</s>)|(?<=<pad>)|(?<=<unk>)|(?<=<mask>))[\s{_DELETED}]+"
)
_DELETED_CHARACTER = re.compile(f"[{_DELETED}]")


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedText:
    """A well-formed text with its T token ids (T,) and the code points that each token covers.

    `offsets` (T, 2) are half open. Several tokens may cover the same character.
    """

    text: str
    token_ids: TokenIds
    offsets: npt.NDArray[np.int64]


def tokenize_with_offsets(
    texts: Sequence[str], tokenizer: Tokenizer, limit: int | None
) -> Iterator[TokenizedText]:
    """Tokenise each text, without special tokens.

    Raises:
        TooManyTokensError: a text has more tokens than `limit`.
    """

    def encode(some: list[str]) -> list[tokenizers.Encoding]:
        return tokenizer.encodings([_without_deleted(text) for text in some])

    for index, (text, encodings) in enumerate(in_pieces(texts, encode)):
        tokens, ids, offsets = 0, [], []
        for begin, encoding in encodings:
            tokens += len(encoding)
            if limit is not None and tokens > limit:
                tokens += sum(len(rest) for _, rest in encodings)
                sentence = f"texts[{index}] has {tokens} tokens; at most {limit} are read."
                raise TooManyTokensError(sentence, tokens, limit, inputs=len(texts), index=index)
            ids.append(np.array(encoding.ids, dtype=np.int32))
            flat = np.fromiter(chain.from_iterable(encoding.offsets), np.int64)
            offsets.append(flat.reshape(-1, 2) + begin)
        yield TokenizedText(text, np.concatenate(ids), np.concatenate(offsets))


def _without_deleted(text: str) -> str:
    return _DELETED_AT_START.sub(_with_line_ends, text)


def _with_line_ends(found: re.Match[str]) -> str:
    return _DELETED_CHARACTER.sub("\n", found[0])
