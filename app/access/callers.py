"""Callers: who asks, and what they may.

With keys a caller is the name of a key; without them, whatever key a client sends is ignored and a
caller is an address, which matters for limits only.
"""

import logging
from pathlib import Path
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.access.budget import Budget
from app.access.keys import KeyRing, KeysError, UnauthorisedError
from app.access.limits import Limits, limits_of
from app.settings import PREFIX, Settings, SettingsError
from app.telemetry.metrics import Metrics

log = logging.getLogger("quintet.keys")

_KEY_HEADERS = ("api-key", "x-api-key")
# Only for the OpenAPI document and its page; `Callers.identify` is what looks at the headers.
_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="A key that `quintet keys add NAME` made; none is asked for where there are none.",
)
_API_KEY, _X_API_KEY = (
    APIKeyHeader(name=name, auto_error=False, scheme_name=name, description="The same key.")
    for name in _KEY_HEADERS
)


class Callers:
    """Knows who asks."""

    def __init__(self, keys: KeyRing | None, limits: Limits, metrics: Metrics) -> None:
        """`keys` is None where nobody is asked for one."""
        self.limits = limits
        self._keys = keys
        self._metrics = metrics

    def identify(self, request: Request) -> None:
        """Enter the name of the caller's key into the request's log line and the metrics.

        Raises:
            UnauthorisedError: there are keys, and this is none of them.
        """
        if self._keys is None:
            return
        try:
            name = self._keys.name_of(_authorization(request))
        except UnauthorisedError as error:
            self._metrics.refused.labels(error.reason).inc()
            raise
        request.state.facts["key"] = name
        self._metrics.key_requests.labels(name).inc()

    async def admit(self, request: Request) -> None:
        """Charge an identified caller's request; its `state.budget` takes care of its tokens.

        Raises:
            RequestsPerMinuteError: it is over the limit.
        """
        address = request.client.host if request.client else "unknown"
        caller = f"key:{name}" if (name := request.state.facts.get("key")) else f"at:{address}"
        request.state.budget = Budget(self.limits, caller, request.state.headers)
        await request.state.budget.admit()

    async def aclose(self) -> None:
        """Leave the store of the limits."""
        await self.limits.store.close()


def _authorization(request: Request) -> str:
    """The Authorization header, or what it would be: Azure's clients send the key as api-key, and
    some others as x-api-key."""
    given = request.headers.get("authorization", "")
    if given.lower().startswith("bearer "):
        return given
    key = next((key for name in _KEY_HEADERS if (key := request.headers.get(name))), None)
    return given if key is None else f"Bearer {key}"


async def identified(
    request: Request,
    _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    _api_key: Annotated[str | None, Security(_API_KEY)],
    _x_api_key: Annotated[str | None, Security(_X_API_KEY)],
) -> None:
    """For routes that only known callers may use; raises what `Callers.identify` does."""
    callers: Callers = request.app.state.callers
    callers.identify(request)


async def admitted(request: Request) -> None:
    """For routes with limits, behind `identified`; raises what `Callers.admit` does."""
    callers: Callers = request.app.state.callers
    await callers.admit(request)


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
