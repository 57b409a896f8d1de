"""Waiting for a condition that another process or thread makes true."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# Only a hang reaches it: what is waited for takes milliseconds on any machine, or a few seconds.
TIMEOUT_S = 60.0
_INTERVAL_S = 0.01
# Longer than any test needs that counts towards a limit.
_COUNTED_S = 15.0


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


def wait_for_one_minute() -> None:
    """Wait, if need be for the next one, until the clock's minute has 15 s left. Limits in memory
    are counted by it, so what is counted next is counted in one minute."""
    left = 60 - time.time() % 60
    if left < _COUNTED_S:
        time.sleep(left)


async def wait_until_async(
    condition: Callable[[], Awaitable[T]], what: str, timeout_s: float = TIMEOUT_S
) -> T:
    """The same on an event loop, for a condition that is awaited."""
    deadline = time.monotonic() + timeout_s
    while not (found := await condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(_INTERVAL_S)
    return found
