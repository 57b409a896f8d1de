"""Whether and when a request is sent again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import retry

# One long ago, and some that no clock can say.
DATES = (
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Fri, 32 Dec 9999 23:59:59 GMT",
    "Fri, 31 Dec 99999999 23:59:59 GMT",
    "Fri, 31 Dec 2030 23:59:59 +99999999999999",
)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@given(st.integers(0, 10_000), st.floats(0, 1e6), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_shorter_than_asked_for_nor_longer_than_that_or_the_cap(
    attempt: int, asked_for: float, jitter: float
) -> None:
    waited = retry.wait_s(attempt, asked_for, jitter)
    assert max(asked_for, retry.FIRST_WAIT_S / 2) <= waited <= max(asked_for, retry.LONGEST_WAIT_S)


def test_waits_double_up_to_the_cap_and_differ_between_callers() -> None:
    longest = [retry.wait_s(attempt, 0, 1) for attempt in range(8)]
    assert longest == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert retry.wait_s(3, 0, 0) == 2


@given(st.integers(0, int(retry.LONGEST_ASKED_S)))
def test_retry_after_is_seconds_or_a_date(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry.retry_after_s(str(seconds), NOW) == seconds
    assert retry.retry_after_s(date, NOW) == seconds


@pytest.mark.parametrize(
    "said", ["601", "864000", "9" * 400, "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_an_absurd_retry_after_is_obeyed_for_ten_minutes(said: str) -> None:
    assert retry.retry_after_s(said, NOW) == 600
    assert retry.wait_s(0, retry.retry_after_s(said, NOW), 0) == 600


@given(st.text(st.characters(codec="latin-1")) | st.text("0123456789 :+-,JanFriGMT"))
def test_whatever_it_says_the_wait_is_finite(said: str) -> None:
    assert 0 <= retry.retry_after_s(said, NOW) <= 600


@pytest.mark.parametrize("said", [None, "", "soon", "-5", "1e3", "nan", *DATES])
def test_a_retry_after_that_says_nothing_is_no_wait(said: str | None) -> None:
    assert retry.retry_after_s(said, NOW) == 0


@pytest.mark.parametrize(
    ("status", "said", "again"),
    [
        *((status, None, True) for status in (408, 429, 502, 503, 504)),
        *((status, None, False) for status in (400, 401, 404, 413, 422, 500)),
        (503, "false", False),
        (400, "true", True),
        (400, "perhaps", False),
    ],
)
def test_what_is_tried_again(status: int, said: str | None, again: bool) -> None:
    assert retry.is_retried(status, said) is again
