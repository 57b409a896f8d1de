"""Rate limits: how many requests and tokens one caller may use in a minute.

Promises:
1. A request over a limit is refused whole and costs nothing: what it was charged is given back.
2. Requests are charged when they come, tokens when they are counted, before the engine has them.
3. Replicas with one Redis count together. When Redis does not answer, requests are let through and
   counted in a metric: a service without limits is better at night than none.

The minutes slide: of the minute before counts the share that is less than 60 s ago, as if its
requests had been spread evenly. So right after a burst up to twice the limit may pass within 60 s.
The counting is done by the library `limits`.
"""

import logging
import math
import time
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.aio.storage.base import SlidingWindowCounterSupport
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from app.access.store import Store, store_of
from app.errors import LONGEST_RETRY_S, RequestError, TokenLimitError
from app.settings import Settings
from app.telemetry.metrics import Metrics

log = logging.getLogger("quintet.limits")

MINUTE_S = 60
# Redis is left alone for so long when it did not answer, so that callers do not wait for it.
_REST_S = 2.0


class LimitReachedError(RequestError):
    """The caller has used up what it may; the same request may pass in `retry_after_s` seconds."""

    status = 429
    openai_code = "rate_limit_exceeded"

    def __init__(self, asked: int, limit: int, retry_after_s: int) -> None:
        super().__init__(
            f"over the limit of {limit} {self.reason}: {asked} asked for at this moment; retry in "
            f"about {retry_after_s} s."
        )
        self.retry_after_s = retry_after_s


class RequestsPerMinuteError(LimitReachedError):
    """Too many requests in a minute."""

    code = "RATE_REQUEST_LIMIT_EXCEEDED"
    openai_type = "requests"
    reason = "requests per minute"


class TokensPerMinuteError(LimitReachedError):
    """Too many tokens in a minute."""

    code = "RATE_TOKEN_LIMIT_EXCEEDED"
    openai_type = "tokens"
    reason = "tokens per minute"


class StoreAwayError(Exception):
    """The store did not answer a moment ago, and is not asked again yet."""


@dataclass(frozen=True, slots=True)
class Window:
    """One caller's sliding minute: counts of the fixed minute before and of the one that runs,
    and the seconds after which each of them does not count any more."""

    limit: int
    before: int
    before_ends_s: float
    running: int
    running_ends_s: float

    @property
    def remaining(self) -> int:
        """What may be asked for now."""
        used = math.floor(self.before * self.before_ends_s / MINUTE_S) + self.running
        return max(0, self.limit - used)

    @property
    def reset_s(self) -> float:
        """Seconds until nothing counts any more."""
        if self.running:
            return self.running_ends_s
        return self.before_ends_s if self.before else 0.0

    def wait_s(self, cost: int) -> int:
        """Whole seconds after which `cost`, at most the limit, fits if nobody else asks.

        floor(before * (before_ends_s - t) / 60) + running + cost <= limit
        """
        begins, counts, ends = 0.0, self.before, self.before_ends_s
        room = self.limit - self.running - cost
        if room < 0:  # not in this minute; in the next one, it is the minute before
            begins, counts, ends = self.running_ends_s - MINUTE_S, self.running, float(MINUTE_S)
            room = self.limit - cost
        t = ends - MINUTE_S * (room + 1) / counts if counts else 0.0
        return min(max(math.floor(begins + max(t, 0.0)) + 1, 1), LONGEST_RETRY_S)

    def headers(self, what: str) -> dict[str, str]:
        """OpenAI's names and formats; `what` is requests or tokens."""
        minutes, seconds = divmod(math.ceil(self.reset_s), MINUTE_S)
        return {
            f"x-ratelimit-limit-{what}": str(self.limit),
            f"x-ratelimit-remaining-{what}": str(self.remaining),
            f"x-ratelimit-reset-{what}": f"{minutes}m{seconds}s" if minutes else f"{seconds}s",
        }


class PerMinute:
    """One limit a minute."""

    def __init__(
        self,
        what: str,
        limit: int,
        storage: SlidingWindowCounterSupport,
        refusal: type[LimitReachedError],
    ) -> None:
        self.limit = limit
        self.refusal = refusal
        self._what = what
        self._item = RateLimitItemPerMinute(limit, namespace=what)
        self._storage = storage
        self._limiter = SlidingWindowCounterRateLimiter(storage)  # type: ignore[arg-type]

    async def charge(self, caller: str, cost: int, headers: dict[str, str]) -> None:
        """Count `cost`, at most the limit, or nothing; what is left comes into `headers`.

        Raises:
            LimitReachedError: there is not that much left.
        """
        fits = await self._limiter.hit(self._item, caller, cost=cost)
        window = await self.show(caller, headers)
        if not fits:
            raise self.refusal(cost, self.limit, window.wait_s(cost))

    async def give_back(self, caller: str, cost: int) -> None:
        """Undo a charge."""
        await self._limiter.hit(self._item, caller, cost=-cost)

    async def show(self, caller: str, headers: dict[str, str]) -> Window:
        """What is left, and the same in `headers`."""
        key = self._item.key_for(caller)
        window = Window(self.limit, *await self._storage.get_sliding_window(key, MINUTE_S))
        headers.update(window.headers(self._what))
        return window


@dataclass(slots=True)
class Limits:
    """The limits that are set; None is no limit."""

    metrics: Metrics
    store: Store
    requests: PerMinute | None = None
    tokens: PerMinute | None = None
    _rests_until: float = 0.0

    def ask(self) -> None:
        """Call this before asking Redis.

        Raises:
            StoreAwayError: it did not answer a moment ago.
        """
        if time.monotonic() < self._rests_until:
            raise StoreAwayError

    def away(self, error: Exception) -> None:
        """Redis did not answer: say so once, not for each request."""
        if not self._rests_until:
            log.error("Redis does not answer; nobody is limited until it does: %s", error)
        if time.monotonic() >= self._rests_until:
            self._rests_until = time.monotonic() + _REST_S

    def back(self) -> None:
        """Redis answered."""
        if self._rests_until:
            log.warning("Redis answers again; limits are kept again.")
        self._rests_until = 0.0

    def check_alone(self, tokens: int) -> None:
        """
        Raises:
            TokenLimitError: a request of so many tokens passes at no time.
        """
        if self.tokens and tokens > self.tokens.limit:
            raise TokenLimitError(
                f"the request has {tokens} tokens in all; a caller may use at most "
                f"{self.tokens.limit} a minute here. Send it in parts."
            )


def limits_of(settings: Settings, metrics: Metrics) -> Limits:
    """The limits that the settings ask for.

    Raises:
        SettingsError: limits are to be counted in Redis, and that cannot be.
    """
    store = store_of(settings.redis_url)
    limits = Limits(metrics, store)
    if settings.max_requests_per_minute:
        limits.requests = PerMinute(
            "requests", settings.max_requests_per_minute, store.windows, RequestsPerMinuteError
        )
    if settings.max_tokens_per_minute:
        limits.tokens = PerMinute(
            "tokens", settings.max_tokens_per_minute, store.windows, TokensPerMinuteError
        )
    return limits
