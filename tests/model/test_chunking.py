"""Where documents are cut: the promises of chunking.py, on random texts of many scripts."""

from itertools import pairwise

import numpy as np
import pytest
import unicode_segmentation_rs
from hypothesis import given
from hypothesis import strategies as st

from model.chunking import BY_VALUES, Chunking, Chunks, chunks_at, chunks_of
from model.config import read_config
from model.offsets import tokenize_with_offsets
from model.tokenizer import Tokenizer
from tests.checkpoints import MINI

TOKENIZER = Tokenizer(MINI, read_config(MINI))
PARTS = [
    *("Guten Morgen! ", "Dr. Smith left. ", "e.g. this, ", "3.8 million", "(yes)", '"No."', "\r\n"),
    *("\n\n", "  ", "\t", "你好。", "再见！", "世界", "สวัสดีครับ ", "مرحبا بالعالم. ", "كيف؟ "),
    *(
        "हिन्दी है। ",
        "👨‍👩‍👧",
        "😀",
        "❤️",
        "e\u0301",
        "각",
        "ﷺ",
        "㍿",
        "\u200b",
        "\ufeff",
        "\u00a0",
        "\u3000",
    ),
    *(
        "# Title\n\n",
        "- item\n",
        "```\ncode\n```\n",
        "| a | b |\n",
        "*bold* ",
        "...",
        "\x1c",
        "\x1f",
        "\v",
        "</s>",
    ),
    *("Donaudampfschifffahrtsgesellschaft", "a" * 70, "ру́сский язы́к. ", "¨", "\u2028", "İ", "½"),
]
texts = st.one_of(st.lists(st.sampled_from(PARTS), max_size=25).map("".join), st.text(max_size=60))
sizes = st.integers(1, 24)


def starts_of(text: str) -> np.ndarray:
    (each,) = tokenize_with_offsets([text], TOKENIZER, None)
    assert each.text == text
    return each.offsets[:, 0]


@st.composite
def ways(draw: st.DrawFn) -> Chunking:
    most = draw(sizes)
    by = draw(st.sampled_from([way for way in BY_VALUES if way != "spans"]))
    least = draw(st.integers(0, most))
    return Chunking(by, most, least, draw(st.integers(0, most // 2)))


def sentences_of(text: str) -> list[int]:
    """The tokens at which a sentence ends, by searching for each sentence from the last one on."""
    at, ends, starts = 0, [], starts_of(text)
    for sentence in unicode_segmentation_rs.unicode_sentences(text):
        at = text.index(sentence, at)
        ends.append(int((starts < at).sum()))
        at += len(sentence)
    return sorted({*ends, len(starts)} - {0})


@given(texts, ways())
def test_chunks_are_in_order_have_tokens_and_leave_out_white_space_alone(
    text: str, how: Chunking
) -> None:
    starts = starts_of(text)
    chunks = chunks_of(text, starts, how)
    assert bool(len(chunks)) == bool(len(starts))
    spans, tokens = chunks.characters.tolist(), chunks.tokens.tolist()
    inside = {at for start, end in spans for at in range(start, end)}
    if len(chunks):
        assert all(at in inside or text[at].isspace() for at in range(len(text)))
    assert all(one < other for one, other in pairwise(spans))
    for (start, end), (first, stop) in zip(spans, tokens, strict=True):
        assert first < stop
        assert text[start:end]
        # White space to Python may be a token: "\x1c" to "\x1f", "\v".
        assert not text[start].isspace() or start == starts[first]
        assert not text[end - 1].isspace() or end - 1 == starts[stop - 1]
        # A token is in the chunk that has its first character.
        assert [start <= at < end for at in starts[first:stop]] == [True] * (stop - first)
    if not how.overlap:
        assert [at for first, stop in tokens for at in range(first, stop)] == [*range(len(starts))]
        assert all(one[1] <= other[0] for one, other in pairwise(spans))


@given(texts, ways())
def test_no_chunk_is_over_the_limit_but_a_single_character(text: str, how: Chunking) -> None:
    starts = starts_of(text)
    before = 0
    for first, stop in chunks_of(text, starts, how).tokens:
        one_character = len({*starts[before:stop]}) == 1
        assert stop - first <= how.max_tokens or one_character
        before = stop


@given(texts, sizes)
def test_a_sentence_is_cut_only_where_it_is_over_the_limit(text: str, most: int) -> None:
    ends = sentences_of(text)
    tokens = chunks_of(text, starts_of(text), Chunking(max_tokens=most)).tokens.tolist()
    whole = max((end - start for start, end in pairwise([0, *ends])), default=0) <= most
    for (first, stop), (_, further) in pairwise(tokens):
        assert not whole or stop in ends
        # Chunks are filled: the next sentence would not have fitted.
        if whole:
            assert min(end for end in ends if end > stop) - first > most
        assert further > stop


@given(texts)
def test_from_one_token_on_each_sentence_is_a_chunk(text: str) -> None:
    tokens = chunks_of(text, starts_of(text), Chunking(max_tokens=10_000, min_tokens=1)).tokens
    assert tokens[:, 1].tolist() == (sentences_of(text) if len(tokens) else [])


@given(texts, st.integers(2, 9))
def test_short_sentences_are_joined_until_they_have_min_tokens(text: str, least: int) -> None:
    how = Chunking(max_tokens=10_000, min_tokens=least)
    counts = np.diff(chunks_of(text, starts_of(text), how).tokens)[:, 0]
    assert (counts >= least).all() or len(counts) == 1


@given(texts, st.integers(2, 24), st.data())
def test_an_overlap_repeats_the_end_of_the_chunk_before(
    text: str, most: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(1, most // 2))
    tokens = chunks_of(text, starts_of(text), Chunking("tokens", most, 0, overlap)).tokens
    repeated = tokens[:-1, 1] - tokens[1:, 0]
    assert ((repeated >= 0) & (repeated <= overlap)).all()


def test_markdown_is_cut_at_its_headings() -> None:
    text = "# One\n\nA short text.\n\n# Two\n\nAnother short text. It has two sentences.\n"
    starts = starts_of(text)
    spans = chunks_of(text, starts, Chunking("markdown", len(starts) - 1)).characters
    assert [text[start:end].partition("\n")[0] for start, end in spans] == ["# One", "# Two"]


@pytest.mark.parametrize("by", ["sentences", "markdown", "tokens"])
def test_a_long_text_is_cut_the_same_whether_its_words_repeat_or_not(by: str) -> None:
    """The Markdown splitter's parts are found again in the text, where they may stand twice."""
    text = "The same words again. " * 4000
    starts = starts_of(text)
    counts = np.diff(chunks_of(text, starts, Chunking(by, 64)).tokens)[:, 0]  # type: ignore[arg-type]
    assert counts.max() <= 64
    assert (counts[:-1] > 32).all()


@given(texts)
def test_a_callers_spans_have_the_tokens_that_begin_in_them(text: str) -> None:
    starts = starts_of(text)
    spans = np.array([(a, b) for a in range(0, len(text), 7) for b in range(a + 1, len(text), 5)])
    spans = spans.reshape(-1, 2)
    chunks: Chunks = chunks_at(spans, starts)
    for (start, end), (first, stop) in zip(spans, chunks.tokens, strict=True):
        assert [*range(first, stop)] == [*np.flatnonzero((starts >= start) & (starts < end))]
