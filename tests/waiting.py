"""Waiting for a condition that another process or thread makes true."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# Only a hang reaches it: what is waited for takes milliseconds on any machine, or a few seconds.
TIMEOUT_S = 60.0
_INTERVAL_S = 0.01


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = TIMEOUT_S) -> T:
    """Ask until the condition gives something true, and return that.

    Raises:
        AssertionError: it does not within `timeout_s` seconds; `what` says what was waited for.
    """
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(_INTERVAL_S)
    return found


async def wait_until_async(
    condition: Callable[[], Awaitable[T]], what: str, timeout_s: float = TIMEOUT_S
) -> T:
    """The same on an event loop, for a condition that is awaited."""
    deadline = time.monotonic() + timeout_s
    while not (found := await condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(_INTERVAL_S)
    return found
