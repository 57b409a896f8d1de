"""Offsets: texts -> token ids with the characters that each token covers."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from model.rows import TokenIds
from model.tokenizer import Tokenizer, TooManyTokensError, slices
from model.unicode import well_formed

# XLM-RoBERTa's normaliser deletes control characters. Where a text begins with one, or what follows
# a special token does, tokenizers 0.23 gives offsets that are one too small from there on. With
# spaces in their place the tokens are the same and the offsets right.
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
    for start, stop in slices(texts):
        clean = [well_formed(text) for text in texts[start:stop]]
        read = [_DELETED_AT_START.sub(_with_spaces, text) for text in clean]
        for index, encoding in enumerate(tokenizer.encodings(read), start):
            tokens = len(encoding)
            if limit is not None and tokens > limit:
                sentence = f"texts[{index}] has {tokens} tokens; at most {limit} are read."
                raise TooManyTokensError(sentence, tokens, limit, inputs=len(texts), index=index)
            offsets = np.fromiter(chain.from_iterable(encoding.offsets), np.int64)
            ids = np.array(encoding.ids, dtype=np.int32)
            yield TokenizedText(clean[index - start], ids, offsets.reshape(-1, 2))


def _with_spaces(found: re.Match[str]) -> str:
    return _DELETED_CHARACTER.sub(" ", found[0])
