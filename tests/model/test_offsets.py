"""Token offsets, on random texts of many scripts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.offsets import tokenize_with_offsets
from model.tokenizer import TooManyTokensError
from tests.model.test_chunking import TOKENIZER, starts_of, texts


@given(texts)
def test_tokens_never_begin_before_the_last_one(text: str) -> None:
    starts = starts_of(text)
    assert (np.diff(starts) >= 0).all()
    assert all(0 <= start < len(text) for start in starts)


def test_a_text_over_the_limit_is_named_and_none_of_its_offsets_is_listed() -> None:
    with pytest.raises(TooManyTokensError, match=r"texts\[2\] has 12 tokens; at most 11") as raised:
        list(tokenize_with_offsets(["a", "b " * 11, "c " * 12], TOKENIZER, 11))
    assert (raised.value.index, raised.value.tokens, raised.value.limit) == (2, 12, 11)


@given(texts, st.sampled_from([1, 7]))
def test_a_text_in_pieces_has_the_offsets_of_the_text(text: str, characters: int) -> None:
    (whole,) = tokenize_with_offsets([text], TOKENIZER, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.tokenizer._CHARACTERS", characters)
        (found,) = tokenize_with_offsets([text], TOKENIZER, None)
    np.testing.assert_array_equal(found.token_ids, whole.token_ids)
    np.testing.assert_array_equal(found.offsets, whole.offsets)


@pytest.mark.parametrize(
    "before", ["", " ", "\u3000", "</s>", "a</s>", "<mask> ", "\x1f", "a\x01 "]
)
@pytest.mark.parametrize(
    "deleted", ["\x01", "\x8f", "\x9f", "\x0b", "\x1c\n\n", "\x7f\x08", " \x02 "]
)
def test_a_character_that_the_tokenizer_deletes_moves_no_offset(before: str, deleted: str) -> None:
    text = f"{before}{deleted}house tree"
    (each,) = tokenize_with_offsets([text], TOKENIZER, None)
    np.testing.assert_array_equal(each.token_ids, TOKENIZER.ids([text])[0])
    words = [text[start:end] for start, end in each.offsets[-2:]]
    assert words == ["house", "tree"]


@pytest.mark.parametrize(
    "text",
    [
        "\u3000\xa0\u0301",
        "\xa0\u200da",
        "\u2003\x9f\u0301e",
        "\x01\u0e33\u0301e",
        "a</s>\x01\u0e33\u0301",
    ],
)
def test_white_space_before_a_text_stays_what_it_is(text: str) -> None:
    (each,) = tokenize_with_offsets([text], TOKENIZER, None)
    np.testing.assert_array_equal(each.token_ids, TOKENIZER.ids([text])[0])


def test_of_all_characters_none_at_a_texts_start_moves_an_offset() -> None:
    starts = [chr(code) for code in range(1, 0x20000) if not 0xD800 <= code < 0xE000]
    texts = [f"{start} house" for start in starts]
    for text, each in zip(texts, tokenize_with_offsets(texts, TOKENIZER, None), strict=True):
        start, end = each.offsets[-1]
        assert text[start:end] == "house", hex(ord(text[0]))
