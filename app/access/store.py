"""Where limits are counted: in this process, or in Redis for several processes and replicas."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.storage.base import SlidingWindowCounterSupport

from app.settings import PREFIX, SettingsError
from model.extras import how_to_install

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

# Redis answers in about a millisecond; when it fails, no request waits longer than this for it.
_TIMEOUT_S = 0.5
_KEY_PREFIX = "quintet"


@dataclass(frozen=True, slots=True)
class Store:
    """The counts of sliding windows. `pool` has the connections to Redis; None counts here."""

    windows: SlidingWindowCounterSupport
    pool: "ConnectionPool | None" = None

    async def close(self) -> None:
        """Close the connections."""
        if self.pool is not None:
            await self.pool.disconnect()


def store_of(redis_url: str | None) -> Store:
    """The store that the settings name. Nothing is connected yet.

    Raises:
        SettingsError: the URL is not one of Redis, or the extra is not installed. The URL is not
            quoted: it may contain a password.
    """
    if redis_url is None:
        return Store(MemoryStorage())
    try:
        from redis.asyncio import ConnectionPool  # noqa: PLC0415  (an extra)
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
            socket_connect_timeout=_TIMEOUT_S,
            socket_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),  # for a connection that Redis closed while it was idle
        )
    except ValueError:
        raise SettingsError(f"{PREFIX}REDIS_URL must be like redis://host:6379/0.") from None
    windows = RedisStorage(
        "async+redis://",
        wrap_exceptions=True,
        implementation="redispy",
        key_prefix=_KEY_PREFIX,
        connection_pool=pool,  # type: ignore[arg-type]
    )
    return Store(windows, pool)
