"""Whether and when a request is sent again. Pure functions: no clock, no wait."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
# Of what Retry-After asks for: this service's own are of two minutes at most, a proxy's may be of
# days, or of a clock that is wrong.
LONGEST_ASKED_S = 600.0
# Overload or a proxy's failure, which pass. A 500 is a defect, and the next one would be the same.
RETRIED = frozenset({408, 429, 502, 503, 504})


def is_retried(status: int, should_retry: str | None) -> bool:
    """Whether another attempt may succeed; the header x-should-retry overrides the status."""
    return should_retry == "true" if should_retry in ("true", "false") else status in RETRIED


def retry_after_s(header: str | None, now: datetime) -> float:
    """The seconds that Retry-After asks for, as seconds or as a date, but LONGEST_ASKED_S at most;
    0 if it is neither."""
    if header is None:
        return 0.0
    if header.strip().isdecimal():
        return min(float(header), LONGEST_ASKED_S)
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(0.0, (date - now).total_seconds()), LONGEST_ASKED_S)


def wait_s(attempt: int, retry_after: float, jitter: float) -> float:
    """Seconds to wait after the failed attempt number `attempt`, counted from 0.

        max(retry_after, ceiling * (1 + jitter) / 2),  ceiling = FIRST_WAIT_S * 2^attempt, capped

    `jitter` is random in [0, 1). The wait is never shorter than the service asked for, and grows
    beyond that where waiting so long did not help.
    """
    ceiling = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt, 30))
    return max(retry_after, ceiling * (1 + jitter) / 2)
