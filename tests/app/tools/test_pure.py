"""What needs neither a clock nor a process: when to try again, what a file costs."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tools import retry
from app.tools.errors import RefusedError
from app.tools.tally import Report, Tally

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@given(st.integers(0, 10_000), st.floats(0, 1e6), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_shorter_than_told_nor_longer_than_told_or_the_cap(
    attempt: int, told: float, chance: float
) -> None:
    waited = retry.wait_s(attempt, told, chance)
    assert max(told, retry.FIRST_WAIT_S / 2) <= waited <= max(told, retry.LONGEST_WAIT_S)


def test_waits_double_up_to_the_cap_and_differ_between_callers() -> None:
    longest = [retry.wait_s(attempt, 0, 1) for attempt in range(8)]
    assert longest == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert retry.wait_s(3, 0, 0) == 2


@given(st.integers(0, 10**6))
def test_retry_after_is_seconds_or_a_date(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry.told_s(str(seconds), NOW) == seconds
    assert retry.told_s(date, NOW) == seconds


@pytest.mark.parametrize("said", [None, "", "soon", "-5", "1e3", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_retry_after_that_says_nothing_is_no_wait(said: str | None) -> None:
    assert retry.told_s(said, NOW) == 0


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


@pytest.mark.parametrize(
    ("status", "param", "blames"),
    [
        (400, "input", True),
        (422, "input[3]", True),
        (413, None, True),
        (500, None, True),
        (422, "task", False),
        (401, None, False),
        (404, "model", False),
    ],
)
def test_only_a_text_can_be_skipped(status: int, param: str | None, blames: bool) -> None:
    assert RefusedError(status, "no", param).blames_an_input is blames


@given(st.lists(st.integers(0, 50)), st.integers(0, 50))
def test_a_tally_is_numpys(counts: list[int], limit: int) -> None:
    tally = Tally(limit)
    for number, tokens in enumerate(counts):
        tally.add(number, tokens)
    over = [number for number, tokens in enumerate(counts) if tokens > limit]
    report = Report.of(tally, "m", None)
    assert (report.texts, report.total_tokens) == (len(counts), sum(counts))
    assert (report.over_limit, report.first_over_limit) == (len(over), over[:10])
    found = [report.median_tokens, report.p95_tokens, report.max_tokens]
    expected = np.percentile(counts, [50, 95, 100], method="inverted_cdf") if counts else [0] * 3
    assert found == list(expected)
