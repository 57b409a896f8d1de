"""Lone surrogates, and positions in code points, UTF-16 units and bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import read_config
from model.tasks import Tasks
from model.tokenizer import Tokenizer
from model.unicode import UNITS, Positions, SplitCharacterError, Unit, well_formed
from tests.checkpoints import MINI
from tests.model.test_chunking import texts

CONFIG = read_config(MINI)
TASK = Tasks(CONFIG).by_name("separation")
HALVES = st.text(st.sampled_from("a\ud83d\ude00\udfff\ufeff😀é"), max_size=12)


@given(st.text())
def test_clean_text_stays_as_it_is(text: str) -> None:
    assert well_formed(text) == text


@given(HALVES)
def test_a_lone_surrogate_becomes_one_replacement_character(text: str) -> None:
    expected, rest = [], list(text)
    while rest:
        first = rest.pop(0)
        if "\ud800" <= first <= "\udbff" and rest and "\udc00" <= rest[0] <= "\udfff":
            first = (first + rest.pop(0)).encode("utf-16", "surrogatepass").decode("utf-16")
        expected.append("\ufffd" if "\ud800" <= first <= "\udfff" else first)
    assert well_formed(text) == "".join(expected)


def test_the_tokenizer_reads_what_is_left_of_a_character_that_was_cut_in_two() -> None:
    halves, whole = ["a \ud83d", "\ude00 b", "\ud83d\ude00"], ["a \ufffd", "\ufffd b", "😀"]
    tokenizer = Tokenizer(MINI, CONFIG)
    found, expected = (tokenizer.rows(texts, TASK).rows for texts in (halves, whole))
    assert [row.token_ids.tolist() for row in found] == [row.token_ids.tolist() for row in expected]


@given(texts, st.sampled_from(UNITS))
def test_positions_are_those_of_the_encoded_text(text: str, unit: Unit) -> None:
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    positions = Positions(text, unit)
    everywhere = np.arange(len(text) + 1)
    counted = {
        "codepoints": len,
        "utf16": lambda part: len(part.encode("utf-16-le")) // 2,
        "bytes": lambda part: len(part.encode()),
    }[unit]
    expected = [counted(text[:at]) for at in everywhere]
    assert positions.of(everywhere).tolist() == expected
    assert positions.codepoints(np.array(expected)).tolist() == everywhere.tolist()
    for wrong in {*range(-2, expected[-1] + 3)} - {*expected}:
        with pytest.raises(SplitCharacterError, match=f"{wrong} is (in|out)side of"):
            positions.codepoints(np.array([0, wrong]))
