"""Concurrent work that is stored in order: bounds, and what an error leaves behind."""

import asyncio
import random
import threading
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from app.tools.in_order import map_in_order
from app.tools.tool_errors import ToolError


class Observed:
    """Counts items on their way."""

    def __init__(self, seed: int, concurrency: int, failing: set[int], bad_line: int) -> None:
        self.concurrency, self.failing, self.bad_line = concurrency, failing, bad_line
        self.read = self.now = self.at_once = 0
        self.most_in_memory = 0
        self.stored: list[int] = []
        self._random = random.Random(seed)

    def items(self, count: int) -> Iterator[int]:
        for number in range(count):
            if number == self.bad_line:
                raise ToolError(str(number))
            self.read += 1
            self.most_in_memory = max(self.most_in_memory, self.read - len(self.stored))
            yield number

    async def work(self, number: int) -> int:
        self.now += 1
        self.at_once = max(self.at_once, self.now)
        for _ in range(self._random.randint(0, 5)):
            await asyncio.sleep(0)
        self.now -= 1
        if number in self.failing:
            raise ToolError(str(number))
        return number

    async def store(self, number: int) -> None:
        self.stored.append(number)

    async def run(self, count: int) -> str | None:
        """What ended it early, if anything did; nothing goes on behind it."""
        try:
            await map_in_order(self.items(count), self.work, self.store, self.concurrency)
        except ToolError as error:
            return str(error)
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}
        return None


@given(
    st.integers(0, 30),
    st.integers(1, 4),
    st.sets(st.integers(0, 40), max_size=2),
    st.integers(0, 60),
    st.integers(0, 2**32),
)
@settings(deadline=None)
def test_what_is_stored_is_all_up_to_the_first_error_in_order_and_in_bounds(
    count: int, concurrency: int, failing: set[int], bad_line: int, seed: int
) -> None:
    observed = Observed(seed, concurrency, failing, bad_line)
    ended = asyncio.run(observed.run(count))
    stop = min([number for number in {*failing, bad_line} if number < count], default=count)
    assert observed.stored == list(range(stop))
    assert ended == (None if stop == count else str(stop))
    assert observed.at_once <= concurrency
    # The one whose result is being stored is in memory, too.
    assert observed.most_in_memory <= 2 * concurrency
    assert observed.read <= stop + 2 * concurrency


def test_a_result_is_stored_while_the_next_item_is_waited_for() -> None:
    stored = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        assert stored.wait(30), "the result of the first item"

    async def work(number: int) -> int:
        return number

    async def store(_: int) -> None:
        stored.set()

    asyncio.run(map_in_order(items(), work, store, 2))
