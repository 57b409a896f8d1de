"""Offsets: texts -> token ids with the characters that each token covers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from model.rows import TokenIds
from model.tokenizer import Tokenizer, TooManyTokensError
from model.unicode import well_formed

# Characters that are tokenised at a time: their offsets take a hundred times the memory.
_CHARACTERS = 1_000_000


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
    for start, stop in _slices(texts):
        clean = [well_formed(text) for text in texts[start:stop]]
        for index, encoding in enumerate(tokenizer.encodings(clean), start):
            tokens = len(encoding)
            if limit is not None and tokens > limit:
                sentence = f"texts[{index}] has {tokens} tokens; at most {limit} are read."
                raise TooManyTokensError(sentence, tokens, limit, inputs=len(texts), index=index)
            offsets = np.fromiter(chain.from_iterable(encoding.offsets), np.int64)
            ids = np.array(encoding.ids, dtype=np.int32)
            yield TokenizedText(clean[index - start], ids, offsets.reshape(-1, 2))


def _slices(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges [start, stop) of texts with at most _CHARACTERS together, or of one longer text."""
    start, characters = 0, 0
    for index, text in enumerate(texts):
        if characters and characters + len(text) > _CHARACTERS:
            yield start, index
            start, characters = index, 0
        characters += len(text)
    yield start, len(texts)
