"""Store: where limits are counted: in this process, or in Redis for several replicas.

A lease is tokens that a request has in work. In Redis it ends by itself after the longest time that
a request may take, so that a replica which was killed holds nothing for ever.
"""

import uuid
from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any

from limits.aio.storage import MemoryStorage
from limits.aio.storage import RedisStorage as RedisWindows
from limits.aio.storage.base import SlidingWindowCounterSupport

from app.settings import PREFIX, SettingsError
from model.extras import how_to_install

if TYPE_CHECKING:
    from redis.asyncio import Redis

# A store answers in about a millisecond, or something is wrong and nobody shall wait for it.
_ANSWER_S = 0.5
_PREFIX = "quintet"


class StoreAwayError(Exception):
    """The store does not answer."""


class Leases(ABC):
    """Tokens in work, of each caller."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    @abstractmethod
    async def take(self, caller: str, tokens: int) -> str | None:
        """A lease of so many tokens; None if that would be more than the limit.

        Raises:
            StoreAwayError: nobody knows.
        """

    @abstractmethod
    def end(self, caller: str, lease: str) -> None:
        """The tokens of a lease are in work no more."""

    @abstractmethod
    async def settle(self) -> None:
        """Tell the store of leases that have ended.

        Raises:
            StoreAwayError: it is told later.
        """


class MemoryLeases(Leases):
    """Leases of this process."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._held: Counter[str] = Counter()

    async def take(self, caller: str, tokens: int) -> str | None:
        """See Leases."""
        if self._held[caller] + tokens > self.limit:
            return None
        self._held[caller] += tokens
        return str(tokens)

    def end(self, caller: str, lease: str) -> None:
        """See Leases."""
        self._held[caller] -= int(lease)
        if not self._held[caller]:
            del self._held[caller]

    async def settle(self) -> None:
        """Nobody has to be told."""


# KEYS[1] a sorted set of a caller's leases, named id:tokens, by the second at which they end.
_TAKE = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local held = 0
for _, lease in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    held = held + tonumber(string.match(lease, ':(%d+)$'))
end
if held + tonumber(ARGV[2]) > tonumber(ARGV[3]) then
    return 0
end
redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[1] .. ':' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""


class RedisLeases(Leases):
    """Leases of all replicas that have the same Redis."""

    def __init__(self, limit: int, redis: "Redis", longest_s: int) -> None:
        super().__init__(limit)
        self._redis = redis
        self._longest_s = longest_s
        self._take = redis.register_script(_TAKE)
        self._ended: list[tuple[str, str]] = []

    async def take(self, caller: str, tokens: int) -> str | None:
        """See Leases."""
        await self.settle()
        name = uuid.uuid4().hex
        lease = f"{name}:{tokens}"
        try:
            asked = self._take([_key(caller)], [name, tokens, self.limit, self._longest_s])
            return lease if await _answer(asked) else None
        except BaseException:  # given up, also by a caller who hangs up: it may have been taken
            self.end(caller, lease)
            raise

    def end(self, caller: str, lease: str) -> None:
        """See Leases."""
        self._ended.append((caller, lease))

    async def settle(self) -> None:
        """See Leases."""
        while self._ended:
            caller, lease = self._ended.pop()
            try:
                await _answer(self._redis.zrem(_key(caller), lease))
            except BaseException:
                self.end(caller, lease)
                raise


async def _answer(asked: Any) -> Any:
    from redis import RedisError  # noqa: PLC0415  (an extra)

    try:
        return await asked
    except RedisError as error:
        raise StoreAwayError(str(error)) from None


def _key(caller: str) -> str:
    return f"{_PREFIX}:leases/{caller}"


class Store:
    """Counts in this process."""

    def __init__(self) -> None:
        self.windows: SlidingWindowCounterSupport = MemoryStorage()

    def leases(self, limit: int) -> Leases:
        """Leases of at most `limit` tokens a caller."""
        return MemoryLeases(limit)

    async def close(self) -> None:
        """Leave nothing open."""


class RedisStore(Store):
    """Counts in Redis."""

    def __init__(self, redis: "Redis", windows: SlidingWindowCounterSupport, longest_s: int):
        self.windows = windows
        self._redis = redis
        self._longest_s = longest_s

    def leases(self, limit: int) -> Leases:
        """See Store."""
        return RedisLeases(limit, self._redis, self._longest_s)

    async def close(self) -> None:
        """See Store."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()


def store_of(redis_url: str | None, longest_request_s: float) -> Store:
    """The store that the settings name. Nothing is connected yet.

    Raises:
        SettingsError: the address is none, or the extra is not installed. The address is not
            quoted: it may have a password.
    """
    if redis_url is None:
        return Store()
    try:
        from redis.asyncio import ConnectionPool, Redis  # noqa: PLC0415  (an extra)
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
    except ImportError:
        raise SettingsError(
            f"{PREFIX}REDIS_URL needs a package that is not installed; to install it: "
            f"{how_to_install('redis')}"
        ) from None
    try:
        pool = ConnectionPool.from_url(
            redis_url,
            socket_connect_timeout=_ANSWER_S,
            socket_timeout=_ANSWER_S,
            retry=Retry(NoBackoff(), 1),  # for a connection that Redis closed while it was idle
        )
    except ValueError:
        raise SettingsError(f"{PREFIX}REDIS_URL must be like redis://host:6379/0.") from None
    windows = RedisWindows(
        "async+redis://",
        wrap_exceptions=True,
        implementation="redispy",
        key_prefix=_PREFIX,
        connection_pool=pool,  # type: ignore[arg-type]
    )
    return RedisStore(Redis(connection_pool=pool), windows, int(longest_request_s) + 1)
