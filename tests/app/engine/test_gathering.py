"""The policy for callers who come back, with made-up times, and in a simulated service."""

import heapq
import random
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.gathering import SMALL_TOKENS, Gathering

# What a batch costs, in seconds: as the small shapes of tests/bench/README.md on two cores.
BATCH_S, ROW_S = 0.01, 0.002
TOKENS = 20
# What an HTTP process takes to answer one caller and read what it sends next. The threads that
# compute a batch meanwhile wait for each other on the core that it takes.
RETURN_S = 0.001


def test_a_batch_waits_until_as_many_have_come_as_were_answered() -> None:
    gathering = Gathering()
    gathering.answered(3, 1.0, now=10.0)
    gathering.arrived(1)
    assert gathering.wait_s(10.0) == pytest.approx(0.0095)
    assert gathering.wait_s(10.005) == pytest.approx(0.0045)
    gathering.arrived(2)
    assert gathering.wait_s(10.005) == 0


def test_it_waits_for_at_most_half_of_the_time_of_the_last_batch() -> None:
    gathering = Gathering()
    gathering.answered(100, 0.008, now=10.0)
    assert gathering.wait_s(10.0) == pytest.approx(0.004)
    assert gathering.wait_s(10.004) == 0


def test_a_caller_who_was_answered_alone_does_not_wait() -> None:
    gathering = Gathering()
    gathering.answered(1, 1.0, now=10.0)
    gathering.arrived(1)
    assert gathering.wait_s(10.0) == 0


def test_who_is_waited_for_in_vain_is_not_waited_for_again_soon() -> None:
    """16 batches do not wait, then 32, 64 and never more than 128; one that pays forgets that."""
    gathering = Gathering()
    assert [in_vain(gathering) for _ in range(5)] == [16, 32, 64, 128, 128]
    gathering.answered(4, 1.0, now=0.0)
    gathering.arrived(3)
    gathering.launched(1.0, waited=True)
    gathering.answered(4, 1.0, now=2.0)
    assert gathering.wait_s(2.0) > 0
    gathering.launched(3.0, waited=False)
    assert in_vain(gathering) == 16


def in_vain(gathering: Gathering) -> int:
    """Wait for callers of whom too few come back; how many batches do not wait after that."""
    gathering.answered(4, 1.0, now=0.0)
    gathering.arrived(2)
    gathering.launched(1.0, waited=True)
    for batches in count():
        gathering.answered(4, 1.0, now=0.0)
        if gathering.wait_s(0.0):
            return batches
        gathering.launched(0.0, waited=False)
    raise AssertionError


class Service:
    """One worker, one HTTP process on the same cores, and callers, in simulated time."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._now = 0.0
        self._arrivals: list[tuple[float, int]] = []
        self._numbers = count()
        self.waiting: list[float] = []
        self.latencies: list[float] = []
        self.batches: list[int] = []
        self.waited: list[float] = []

    def send(self, at: float) -> None:
        """A request, which arrives at the worker then."""
        heapq.heappush(self._arrivals, (at, next(self._numbers)))

    def run_batch(self) -> float:
        """Wait as the board does, and compute; the time."""
        if not self.waiting:
            self._receive(max(self._now, self._arrivals[0][0]))
        began = self._now
        while wait_s := self._gathering.wait_s(self._now):
            if TOKENS * len(self.waiting) >= SMALL_TOKENS:
                break
            due = self._now + wait_s
            self._receive(min(due, self._arrivals[0][0]) if self._arrivals else due)
        self.waited.append(self._now - began)
        self._gathering.launched(self._now, waited=self._now > began)
        rows, seconds = self.waiting, BATCH_S + ROW_S * len(self.waiting)
        self.waiting = []
        end = self._now + seconds
        while self._arrivals and self._arrivals[0][0] <= end:
            end += RETURN_S
            self._receive(self._arrivals[0][0])
        self._receive(end)
        self.latencies += [self._now - since for since in rows]
        self.batches.append(len(rows))
        self._gathering.answered(len(rows), seconds, self._now)
        return self._now

    def _receive(self, until: float) -> None:
        self._now = until
        while self._arrivals and self._arrivals[0][0] <= until:
            self.waiting.append(heapq.heappop(self._arrivals)[0])
            self._gathering.arrived(1)


def closed_loop(gathering: Gathering, clients: int, batches: int, seed: int = 0) -> Service:
    """Clients who send their next request as soon as they are answered, one after the other."""
    rng, service = random.Random(seed), Service(gathering)
    for _ in range(clients):
        service.send(0.1 * rng.random())
    for _ in range(batches):
        now = service.run_batch()
        for place in range(service.batches[-1]):
            service.send(now + RETURN_S * (place + 1))
    return service


def open_loop(gathering: Gathering, rate: float, batches: int, seed: int) -> Service:
    """Requests that come at random, whatever is answered."""
    rng, service, at = random.Random(seed), Service(gathering), 0.0
    for _ in range(40 * batches):
        at += rng.expovariate(rate)
        service.send(at)
    for _ in range(batches):
        service.run_batch()
    return service


class Never(Gathering):
    """What the policy is compared with."""

    def wait_s(self, now: float) -> float:  # noqa: ARG002
        return 0.0


@given(st.integers(2, 16), st.integers(0, 2**32))
def test_clients_in_a_closed_loop_are_soon_together(clients: int, seed: int) -> None:
    """Though they begin at random times."""
    service = closed_loop(Gathering(), clients, 60, seed)
    assert service.batches[-10:] == [clients] * 10


def test_clients_in_a_closed_loop_are_answered_sooner() -> None:
    together, apart = (closed_loop(policy, 16, 400) for policy in (Gathering(), Never()))
    assert max(apart.batches[10:]) < 16
    mean = [sum(each.latencies) / len(each.latencies) for each in (together, apart)]
    assert mean[0] < 0.9 * mean[1]


@given(st.integers(0, 2**32))
def test_a_single_client_never_waits(seed: int) -> None:
    service = closed_loop(Gathering(), 1, 60, seed)
    assert not any(service.waited)


@given(st.floats(5, 200), st.integers(0, 2**32))
def test_requests_at_random_times_seldom_wait(rate: float, seed: int) -> None:
    """200 a second keep the device busy for three fifths of the time."""
    service = open_loop(Gathering(), rate, 1500, seed)
    in_vain = sum(1 for waited in service.waited[500:] if waited)
    assert in_vain <= 0.05 * len(service.waited[500:])
