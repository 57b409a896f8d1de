"""How much of a job is sent at once: what cannot be done in time is sent in smaller parts."""

import asyncio

import pytest

from app import retry
from app.batches.answering import answered
from app.batches.input_lines import Line
from app.batches.records import Job
from app.batches.sender import Answer
from app.batches.window import Place, Window

JOB = Job(*("batch_x", "", "", "/v1/embeddings", "file-x", "file-y", "file-z"), 1, "1h", 0, 1)
LINES = 64


class Device:
    """Has one request at a time, in the order in which they came. With so many before it one is
    late; the line `never` always is."""

    def __init__(self, patience: int, never: int | None = None) -> None:
        self.patience, self.never = patience, never
        self.sent: list[int] = []
        self._under_way = 0

    async def send(self, _: Job, __: bytes, request_id: str) -> Answer:
        number = int(request_id.rpartition("-")[2])
        self.sent.append(number)
        before = self._under_way
        self._under_way += 1
        for _turn in range(min(before, self.patience) + 1):
            await asyncio.sleep(0)
        self._under_way -= 1
        if before >= self.patience or number == self.never:
            return Answer(504, b'{"error": {"code": "timeout"}}', {})
        return Answer(200, b'{"usage": {"total_tokens": 1}}', {})


def run(sender: Device) -> list[bool]:
    """Which lines were answered."""

    async def work() -> list[bool]:
        window = Window()
        lines = [Line(n, f"c{n}", b"{}") for n in range(1, LINES + 1)]
        written = await asyncio.gather(*(answered(sender, JOB, each, window) for each in lines))
        return [bool(each.output) for each in written]

    return asyncio.run(work())


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.0)


def test_lines_that_are_late_by_each_other_are_all_answered() -> None:
    assert all(run(Device(patience=3)))


def test_a_line_that_is_late_alone_fails_and_no_other_one() -> None:
    sender = Device(patience=6, never=20)
    done = run(sender)
    assert [n for n, each in enumerate(done, 1) if not each] == [20]
    assert sender.sent.count(20) < 30


async def settled() -> None:
    """What can go has gone."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_lines_go_in_order_and_those_that_are_late_together_shrink_it_once() -> None:
    async def work() -> None:
        window, ends = Window(), {n: asyncio.Event() for n in range(20)}
        places: dict[int, Place] = {}

        async def hold(number: int) -> None:
            async with window.place(number, 1) as place:
                places[number] = place
                await ends[number].wait()

        tasks = [asyncio.create_task(hold(number)) for number in range(8)]
        await settled()
        assert [place.alone for place in places.values()] == [True] + 7 * [False]
        window.late(places[0])
        window.late(places[5])
        tasks += [asyncio.create_task(hold(number)) for number in (12, 11, 10)]
        for number in range(7):
            ends[number].set()
        await settled()
        assert [*places][8:] == [10], "two of eight, and one of them is there"
        assert places[10].alone is False
        tasks[-2].cancel()
        ends[7].set()
        await settled()
        assert [*places][9:] == [12]
        for event in ends.values():
            event.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(work())
