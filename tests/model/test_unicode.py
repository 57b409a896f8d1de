"""Texts that are not clean Unicode."""

from hypothesis import given
from hypothesis import strategies as st

from model.config import read_config
from model.tasks import Tasks
from model.tokenizer import Tokenizer
from model.unicode import well_formed
from tests.checkpoints import MINI

CONFIG = read_config(MINI)
TASK = Tasks(CONFIG).named("separation")
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
