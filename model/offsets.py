"""TokenizedText: texts with their tokens, and where these stand in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from model.rows import TokenIds
from model.tokenizer import Tokenizer, TooManyTokensError
from model.unicode import well_formed

# Characters that are tokenised together: offsets take a hundred times their memory.
_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedText:
    """A well-formed text, the ids of its T own tokens, (T,), and which characters (code points)
    each is of: `offsets` (T, 2), half open. Several tokens may be of one character."""

    text: str
    token_ids: TokenIds
    offsets: npt.NDArray[np.int64]


def tokenize_with_offsets(
    texts: Sequence[str], tokenizer: Tokenizer, limit: int | None
) -> Iterator[TokenizedText]:
    """Each text with its tokens, without special tokens.

    Raises:
        TooManyTokensError: a text has more tokens than `limit`.
    """
    for start, stop in _together(texts):
        clean = [well_formed(text) for text in texts[start:stop]]
        for index, encoding in enumerate(tokenizer.encodings(clean), start):
            tokens = len(encoding)
            if limit is not None and tokens > limit:
                sentence = f"texts[{index}] has {tokens} tokens; at most {limit} are read."
                raise TooManyTokensError(sentence, tokens, limit, inputs=len(texts), index=index)
            offsets = np.fromiter(chain.from_iterable(encoding.offsets), np.int64)
            ids = np.array(encoding.ids, dtype=np.int32)
            yield TokenizedText(clean[index - start], ids, offsets.reshape(-1, 2))


def _together(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges of texts of about so many characters."""
    start, characters = 0, 0
    for index, text in enumerate(texts):
        if characters and characters + len(text) > _CHARACTERS:
            yield start, index
            start, characters = index, 0
        characters += len(text)
    yield start, len(texts)
