"""Window: how much of a job is under way at once, so that what is sent is done in time.

A queue takes more than a slow device, or one that others keep busy, gets through before the time of
a request is over: then lines are late by no fault of theirs. So once one was, a quarter of what was
under way is sent at once, and from there on a little more with each line that is answered.

1. Lines go in the order of their numbers, those that are sent again too; one at least is under way.
2. Lines that were late together make it smaller once.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """What a line has while it is under way; `alone` says that no other one was when it went."""

    weight: int
    alone: bool
    size: int


class Window:
    """That of one job."""

    def __init__(self) -> None:
        self._most = math.inf
        self._under_way = 0
        self._sizes = 0  # how often it has become smaller
        self._waiting: dict[int, tuple[int, asyncio.Future[Place]]] = {}

    @contextlib.asynccontextmanager
    async def place(self, number: int, weight: int) -> AsyncIterator[Place]:
        """Wait until the line of that number may go; it is under way in the block."""
        entry: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting[number] = weight, entry
        self._let_in()
        try:
            yield await entry
        finally:
            if self._waiting.pop(number, None) is None:  # it was let in
                self._under_way -= weight
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            number = min(self._waiting)
            weight, entry = self._waiting[number]
            alone = not self._under_way
            if not alone and self._under_way + weight > self._most:
                return
            del self._waiting[number]
            self._under_way += weight
            if not entry.done():  # cancelled
                entry.set_result(Place(weight, alone, self._sizes))

    def late(self, place: Place) -> None:
        """A line that is under way was not done in time."""
        if place.size == self._sizes:
            self._most = max(min(self._most, self._under_way) / 4, 1.0)
            self._sizes += 1

    def in_time(self, place: Place) -> None:
        """A line that is under way was answered."""
        self._most += place.weight / self._most
