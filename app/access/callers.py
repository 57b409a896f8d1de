"""Callers: who asks, by API key or address, and the budget of one request.

With keys a caller is the name of a key. Without keys, a key that a client sends is ignored, and a
caller is an address, which matters for limits only.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from app.access.budget import Budget
from app.access.keyfile import KeysError
from app.access.keys import KeyRing
from app.access.limits import RateLimits, limits_of
from app.errors import UnauthorisedError
from app.settings import PREFIX, Settings, SettingsError
from app.telemetry.metrics import Metrics

log = logging.getLogger("quintet.keys")

# Azure's clients send a key in the first, Google's in the last, some others in the second.
KEY_HEADERS = ("api-key", "x-api-key", "x-goog-api-key")


class Callers:
    """Checks API keys, and makes the budget that charges a caller's limits."""

    def __init__(self, keys: KeyRing | None, limits: RateLimits, metrics: Metrics) -> None:
        """`keys` is None where the service asks for no key."""
        self.limits = limits
        self._keys = keys
        self._metrics = metrics

    def key_name(self, headers: Mapping[str, str]) -> str | None:
        """The name of the key in a request's headers; None where the service asks for no key.

        Raises:
            UnauthorisedError: the service has keys, and this is none of them.
        """
        if self._keys is None:
            return None
        try:
            name = self._keys.name_of(_authorization(headers))
        except UnauthorisedError as error:
            self._metrics.refused.labels(error.reason).inc()
            raise
        self._metrics.key_requests.labels(name).inc()
        return name

    def known_name(self, name: str) -> str | None:
        """The name of a key for whose owner the service itself asks; None where it asks for none.

        Raises:
            WrongKeyError: there is no such key any more.
        """
        if self._keys is None:
            return None
        self._keys.check_name(name)
        self._metrics.key_requests.labels(name).inc()
        return name

    def budget(
        self, key_name: str | None, address: str, response_headers: dict[str, str]
    ) -> Budget:
        """What one request may charge; what is left after it comes into `response_headers`."""
        caller = f"key:{key_name}" if key_name else f"at:{address}"
        return Budget(self.limits, caller, response_headers)

    async def aclose(self) -> None:
        """Disconnect from the store of the limits."""
        await self.limits.store.close()


def _authorization(headers: Mapping[str, str]) -> str:
    """The Authorization header, or what it would be for a key in one of KEY_HEADERS."""
    given = headers.get("authorization", "")
    if given.lower().startswith("bearer "):
        return given
    key = next((key for name in KEY_HEADERS if (key := headers.get(name))), None)
    return given if key is None else f"Bearer {key}"


def callers_of(settings: Settings, metrics: Metrics) -> Callers:
    """The callers that the settings allow.

    Raises:
        SettingsError: the keys or the limits cannot be used.
    """
    return Callers(_keys(settings.keys_file), limits_of(settings, metrics), metrics)


def _keys(path: str | None) -> KeyRing | None:
    if path is None:
        return None
    try:
        keys = KeyRing(Path(path))
    except KeysError as error:
        made = "" if Path(path).exists() else " `quintet keys add NAME` makes it."
        raise SettingsError(f"{PREFIX}KEYS_FILE: {error}{made}") from None
    if not len(keys):
        log.warning("%s has no key yet: everyone is refused until one is added", path)
    return keys
