"""Rate limits: how many requests and tokens one caller may use in a minute.

Promises:
1. A request over a limit is refused whole and costs nothing: what it was charged is given back, or
   fades with its minute where that is over: in the next one it would be more than the limit.
2. Requests are charged when they come, tokens when they are counted, before the engine has them.
3. Replicas with one Redis count together. When Redis does not answer, requests are let through and
   counted in a metric: a service without limits is better than none.

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
from app.errors import (
    LONGEST_RETRY_S,
    LimitReachedError,
    RequestsPerMinuteError,
    TokenLimitError,
    TokensPerMinuteError,
)
from app.settings import Settings
from app.telemetry.metrics import Metrics

log = logging.getLogger("quintet.limits")

MINUTE_S = 60
# After a failure Redis is not asked for so long, so that requests do not wait for it.
_PAUSE_S = 2.0


class StorePausedError(Exception):
    """The store failed a moment ago, and is not asked again yet."""


@dataclass(frozen=True, slots=True)
class MinuteWindow:
    """One caller's sliding minute: counts of the fixed minute before and of the current one, and
    the seconds after which each of them no longer counts."""

    limit: int
    before: int
    before_ends_s: float
    current: int
    current_ends_s: float

    @property
    def remaining(self) -> int:
        """What may be asked for now."""
        used = math.floor(self.before * self.before_ends_s / MINUTE_S) + self.current
        return max(0, self.limit - used)

    @property
    def reset_s(self) -> float:
        """Seconds until nothing counts any more."""
        if self.current:
            return self.current_ends_s
        return self.before_ends_s if self.before else 0.0

    def wait_s(self, cost: int) -> int:
        """Whole seconds after which `cost`, at most the limit, fits if nobody else asks.

        floor(before * (before_ends_s - t) / 60) + current + cost <= limit
        """
        begins, counts, ends = 0.0, self.before, self.before_ends_s
        room = self.limit - self.current - cost
        if room < 0:  # not in this minute; in the next one, it is the minute before
            begins, counts, ends = self.current_ends_s - MINUTE_S, self.current, float(MINUTE_S)
            room = self.limit - cost
        t = ends - MINUTE_S * (room + 1) / counts if counts else 0.0
        return min(max(math.floor(begins + max(t, 0.0)) + 1, 1), LONGEST_RETRY_S)

    def headers(self, unit: str) -> dict[str, str]:
        """OpenAI's names and formats; `unit` is requests or tokens."""
        minutes, seconds = divmod(math.ceil(self.reset_s), MINUTE_S)
        return {
            f"x-ratelimit-limit-{unit}": str(self.limit),
            f"x-ratelimit-remaining-{unit}": str(self.remaining),
            f"x-ratelimit-reset-{unit}": f"{minutes}m{seconds}s" if minutes else f"{seconds}s",
        }


@dataclass(frozen=True, slots=True)
class Charge:
    """What was counted, and when its minute ends, by the monotonic clock."""

    cost: int
    minute_ends: float


class MinuteLimit:
    """A limit on one unit, requests or tokens, in a minute."""

    def __init__(
        self,
        unit: str,
        limit: int,
        storage: SlidingWindowCounterSupport,
        refusal: type[LimitReachedError],
    ) -> None:
        self.limit = limit
        self._refusal = refusal
        self._unit = unit
        self._item = RateLimitItemPerMinute(limit, namespace=unit)
        self._storage = storage
        self._limiter = SlidingWindowCounterRateLimiter(storage)  # type: ignore[arg-type]

    async def charge(self, caller: str, cost: int, headers: dict[str, str]) -> Charge:
        """Count `cost`, at most the limit, or nothing; what is left is written into `headers`.

        Raises:
            LimitReachedError: there is not that much left.
        """
        fits = await self._limiter.hit(self._item, caller, cost=cost)
        window = await self.read(caller, headers)
        if not fits:
            raise self._refusal(cost, self.limit, window.wait_s(cost))
        return Charge(cost, time.monotonic() + window.current_ends_s - MINUTE_S)

    async def give_back(self, caller: str, charge: Charge) -> None:
        """Undo a charge, if it counts for the current minute."""
        if time.monotonic() < charge.minute_ends:
            await self._limiter.hit(self._item, caller, cost=-charge.cost)

    async def read(self, caller: str, headers: dict[str, str]) -> MinuteWindow:
        """The caller's window; what is left is written into `headers`."""
        key = self._item.key_for(caller)
        window = MinuteWindow(self.limit, *await self._storage.get_sliding_window(key, MINUTE_S))
        headers.update(window.headers(self._unit))
        return window


@dataclass(slots=True)
class RateLimits:
    """The limits of the settings, None for no limit; and whether their store answers."""

    metrics: Metrics
    store: Store
    requests: MinuteLimit | None = None
    tokens: MinuteLimit | None = None
    _paused_until: float = 0.0

    def check_store(self) -> None:
        """Call this before using the store.

        Raises:
            StorePausedError: it failed a moment ago.
        """
        if time.monotonic() < self._paused_until:
            raise StorePausedError

    def store_failed(self, error: Exception) -> None:
        """Pause, and log the first failure of a row."""
        if not self._paused_until:
            log.error("Redis does not answer; nobody is limited until it does: %s", error)
        if time.monotonic() >= self._paused_until:
            self._paused_until = time.monotonic() + _PAUSE_S

    def store_answered(self) -> None:
        """Log it after failures."""
        if self._paused_until:
            log.warning("Redis answers again; limits are kept again.")
        self._paused_until = 0.0

    def check_tokens(self, tokens: int) -> None:
        """
        Raises:
            TokenLimitError: a request of so many tokens is over the limit by itself.
        """
        if self.tokens and tokens > self.tokens.limit:
            raise TokenLimitError(
                f"the request has {tokens} tokens in all; a caller may use at most "
                f"{self.tokens.limit} a minute here. Send it in parts."
            )


def limits_of(settings: Settings, metrics: Metrics) -> RateLimits:
    """The limits that the settings ask for.

    Raises:
        SettingsError: limits are to be counted in Redis, and that cannot be.
    """
    store = store_of(settings.redis_url)
    limits = RateLimits(metrics, store)
    if settings.max_requests_per_minute:
        limits.requests = MinuteLimit(
            "requests", settings.max_requests_per_minute, store.windows, RequestsPerMinuteError
        )
    if settings.max_tokens_per_minute:
        limits.tokens = MinuteLimit(
            "tokens", settings.max_tokens_per_minute, store.windows, TokensPerMinuteError
        )
    return limits
