"""The load generator: when it sends, what it counts, and that it ends. Promises by number."""

import itertools
import threading
import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.tools.load import Load, Prepared, quantile_of
from app.tools.load_generator import run
from app.tools.load_processes import generators
from tests.app.tools.scripted import Refusal, Scripted
from tests.exchange import post

_STALL_S = 0.4


def _requests(count: int = 1) -> Prepared:
    bodies = ({"input": [f"text {number}"]} for number in range(count))
    return Prepared([post(body).wire for body in bodies])


def _held(script: Scripted) -> None:
    """No request is answered."""
    script.act = lambda _: (script.released.wait(), None)[1]


def test_a_closed_loop_has_one_request_for_each_connection_at_a_time(scripted: Scripted) -> None:
    """Promise 1."""
    both = threading.Barrier(3)
    scripted.act = lambda asked: (both.wait(30), None)[1] if asked.number < 3 else None
    seen = run(Load(scripted.url, _requests(), 3, seconds=60, most=30))
    assert scripted.at_once == 3
    assert len(scripted.asked) == seen.answered == len(seen.latencies) == 30
    assert not seen.failures


def test_a_latency_in_an_open_loop_counts_from_the_due_time(scripted: Scripted) -> None:
    """Promise 2: what was due while the service stalled has waited, though it is answered at
    once when it is sent."""
    scripted.act = lambda asked: time.sleep(_STALL_S) if asked.number == 0 else None
    load = Load(scripted.url, _requests(), 1, seconds=60, most=5, rate=50)
    latencies = run(load).latencies
    assert latencies == sorted(latencies, reverse=True)
    assert latencies[1] > _STALL_S - 0.1


def test_in_a_closed_loop_the_same_stall_is_one_latency(scripted: Scripted) -> None:
    """The control of the test above."""
    scripted.act = lambda asked: time.sleep(_STALL_S) if asked.number == 0 else None
    latencies = run(Load(scripted.url, _requests(), 1, seconds=60, most=5)).latencies
    assert max(latencies) == latencies[0] > _STALL_S
    assert latencies[1] < latencies[0] / 2


def test_no_more_than_the_most_are_sent(scripted: Scripted) -> None:
    """Promise 3."""
    seen = run(Load(scripted.url, _requests(20), 4, seconds=60, most=12, rate=1000))
    assert len(scripted.asked) == len(seen.latencies) == 12
    assert len(set(scripted.texts())) == 12


def test_it_ends_without_an_answer(scripted: Scripted) -> None:
    """Promises 3 and 5."""
    _held(scripted)
    seen = run(Load(scripted.url, _requests(), 2, seconds=0.2, rate=50, timeout_s=0.5))
    assert seen.failures["no answer in 0.5 s"] == 2
    assert seen.failures["not sent, as all connections were busy"] == 8
    assert not seen.latencies


def test_an_answer_after_the_end_is_a_latency_and_no_rate(scripted: Scripted) -> None:
    """Promise 4."""
    scripted.act = lambda _: time.sleep(_STALL_S)
    seen = run(Load(scripted.url, _requests(), 2, seconds=0.1))
    assert (seen.answered, seen.per_s, len(seen.latencies)) == (0, 0, 2)


@pytest.mark.parametrize(
    ("refusal", "kind", "sentence"),
    [
        (Refusal(503, "too much is waiting"), "status 503", {"status 503": "too much is waiting"}),
        (Refusal(0), "broken off", {}),
    ],
)
def test_failures_are_counted_by_kind(
    scripted: Scripted, refusal: Refusal, kind: str, sentence: dict[str, str]
) -> None:
    """Promise 5; what comes after them is answered."""
    scripted.act = lambda asked: refusal if asked.number < 3 else None
    seen = run(Load(scripted.url, _requests(), 1, seconds=60, most=6))
    assert seen.failures == {kind: 3}
    assert seen.sentences == sentence
    assert len(seen.latencies) == 3


def test_nobody_listens() -> None:
    """Promise 5."""
    seen = run(Load("http://127.0.0.1:9", _requests(), 2, seconds=0.2))
    assert set(seen.failures) == {"no connection: ConnectionRefusedError"}


def test_processes_share_the_requests_of_a_load(scripted: Scripted) -> None:
    with generators(2) as fleet:
        reported: list[int] = []
        load = Load(scripted.url, _requests(10), 4, seconds=60, most=10, rate=100, keep_each=1)
        seen = fleet.run(load, reported.append)
    assert sorted(scripted.texts()) == [f"text {number}" for number in range(10)]
    assert len(seen.latencies) == 10
    assert reported == sorted(reported)
    for number, body in itertools.islice(seen.kept, 4):
        assert orjson.loads(body)["usage"]["total_tokens"] == 4, number


def test_of_fewer_requests_than_processes_none_is_sent_twice(scripted: Scripted) -> None:
    """Promise 3, of all processes together."""
    with generators(4) as fleet:
        seen = fleet.run(Load(scripted.url, _requests(10), 4, seconds=30, most=2))
    assert sorted(scripted.texts()) == ["text 0", "text 1"]
    assert seen.answered == 2


@given(st.lists(st.integers(0, 50), min_size=1, max_size=120), st.integers(1, 100))
@settings(deadline=None)
def test_a_quantile_is_the_least_that_so_many_do_not_exceed(
    values: list[int], percent: int
) -> None:
    def covers(value: int) -> bool:
        return 100 * sum(each <= value for each in values) >= percent * len(values)

    assert quantile_of([*map(float, values)], percent / 100) == min(filter(covers, values))


@pytest.mark.parametrize("percent", [1, 7, 50, 99, 100])
def test_of_1_to_100_the_percentile_is_the_number(percent: int) -> None:
    assert quantile_of([*map(float, range(1, 101))], percent / 100) == percent
