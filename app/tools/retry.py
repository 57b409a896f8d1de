"""Retry: whether and when a request is sent again. Pure: no clock, no wait."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
# Not now, or not through this proxy. A 500 is a defect, and the next one would be the same.
RETRIED = frozenset({408, 429, 502, 503, 504})


def is_retried(status: int, should_retry: str | None) -> bool:
    """Whether an answer with `status` may differ next time; x-should-retry has the last word."""
    return should_retry == "true" if should_retry in ("true", "false") else status in RETRIED


def told_s(retry_after: str | None, now: datetime) -> float:
    """The seconds that Retry-After asks for, given as seconds or as a date; 0 if it is neither."""
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())


def wait_s(attempt: int, told: float, chance: float) -> float:
    """Seconds to wait after the failed attempt number `attempt`, counted from 0.

        max(told, ceiling * (1 + chance) / 2),  ceiling = FIRST_WAIT_S * 2^attempt, capped

    `chance` in [0, 1) is the jitter. Never less than the service said, and more if saying it did
    not help.
    """
    ceiling = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt, 30))
    return max(told, ceiling * (1 + chance) / 2)
