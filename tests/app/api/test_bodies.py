"""The bodies that one process holds are bounded in bytes, and every way out gives them back."""

import contextlib
import socket
from collections.abc import Callable, Iterator

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.bodies import SMALL_BYTES, Bodies, Share
from app.errors import BodiesFullError
from app.settings import Settings, SettingsError, check_servable
from app.telemetry.metrics import Metrics
from tests.operations.wire import connect, read_to_end, statuses, talk
from tests.server import Service, running
from tests.waiting import wait_for_one_minute, wait_until

LIMIT = 1_000_000
LARGEST = 800_000
METRICS = Metrics("0", "a model")

STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, LIMIT)), max_size=40)


@given(STEPS)
def test_they_never_hold_more_than_the_limit_and_nothing_in_the_end(
    steps: list[tuple[int, int]],
) -> None:
    bodies, sizes = Bodies(Settings(max_bodies_bytes=LIMIT), METRICS), [0] * 5
    with contextlib.ExitStack() as stack:
        shares = [stack.enter_context(Share(bodies)) for _ in sizes]
        for number, more in steps:
            fits = fitting(sizes, number, more)
            assert passes(Share.expect, shares[number], sizes[number] + more) == fits
            assert passes(Share.grow, shares[number], sizes[number] + more) == fits
            sizes[number] += more if fits else 0
            assert bodies.held == counted(sizes) <= LIMIT
    assert bodies.held == 0


def counted(sizes: list[int]) -> int:
    return sum(max(size - SMALL_BYTES, 0) for size in sizes)


def fitting(sizes: list[int], number: int, more: int) -> bool:
    grown = [size + more * (index == number) for index, size in enumerate(sizes)]
    return counted(grown) in (counted(sizes), min(counted(grown), LIMIT))


def passes(check: Callable[[Share, int], None], share: Share, size: int) -> bool:
    try:
        check(share, size)
    except BodiesFullError:
        return False
    return True


def test_a_limit_that_the_largest_body_does_not_pass_is_refused_at_the_start() -> None:
    with pytest.raises(SettingsError, match="EMBED_MAX_BODIES_BYTES=5 is less than"):
        check_servable(Settings(max_body_bytes=6, max_bodies_bytes=5))


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    limits = {"max_body_bytes": LARGEST, "max_bodies_bytes": LIMIT, "cache_bytes": 0}
    with running(**limits, body_timeout_s=3, request_timeout_s=3) as service:
        yield service


def of_size(size: int, **fields: object) -> bytes:
    """A body of that many bytes, most of which are ignored."""
    body = orjson.dumps({"input": "x", **fields, "padding": ""})
    return body.replace(b'"padding":""', b'"padding":"' + b"a" * (size - len(body)) + b'"')


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([b"POST /v1/embeddings HTTP/1.1", b"Host: localhost", *lines, b"", b""])


def sent(body: bytes) -> bytes:
    return head(b"Content-Length: %d" % len(body), b"Connection: close") + body


def wait_until_held(service: Service, size: int) -> None:
    wait_until(lambda: service.metric("body_bytes") == size, f"{size} bytes of bodies")


@contextlib.contextmanager
def under_way(service: Service, size: int) -> Iterator[socket.socket]:
    """A caller who has sent so much of a body of the largest size."""
    with connect(service.url) as connection:
        body = of_size(LARGEST)
        connection.sendall(head(b"Content-Length: %d" % LARGEST) + body[:size])
        wait_until_held(service, size - SMALL_BYTES)
        yield connection
    wait_until_held(service, 0)


def test_what_is_too_much_is_refused_and_small_requests_pass(service: Service) -> None:
    refused_before = service.metric("refused_total")
    with under_way(service, LARGEST - 1) as large:
        length = b"Content-Length: %d" % LARGEST
        announced = head(length, b"Expect: 100-continue", b"Connection: close")
        answer = talk(service.url, announced)
        assert statuses(answer) == [503], "before any of it is read"
        assert b"\r\nretry-after: 1\r\n" in answer
        assert b"requests under way hold 734463 of 1000000 bytes" in answer
        chunk = b"%x\r\n%s\r\n" % (SMALL_BYTES, b" " * SMALL_BYTES)
        unannounced = head(b"Transfer-Encoding: chunked", b"Connection: close") + 6 * chunk
        assert statuses(talk(service.url, unannounced)) == [503]
        assert service.metric("refused_total") - refused_before == 2
        assert statuses(talk(service.url, sent(of_size(SMALL_BYTES)))) == [200]
        assert statuses(talk(service.url, sent(of_size(300_000)))) == [200], "there is room for it"
        assert service.metric("body_bytes") == LARGEST - 1 - SMALL_BYTES
        large.sendall(b"}")
        assert statuses(large.recv(65_536)) == [200]


def test_what_is_announced_and_not_sent_takes_nothing_from_others(service: Service) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(under_way(service, SMALL_BYTES))
        assert statuses(talk(service.url, sent(of_size(LARGEST)))) == [200]


WAYS_OUT = {
    "answered": (of_size(LARGEST), 200),
    "no JSON": (b"a" * LARGEST, 400),
    "refused": (of_size(LARGEST, task="no such task"), 422),
    "late": (of_size(LARGEST)[:-1], 408),
}


@pytest.mark.parametrize(("body", "status"), WAYS_OUT.values(), ids=WAYS_OUT.keys())
def test_its_bytes_are_given_back(service: Service, body: bytes, status: int) -> None:
    with connect(service.url) as connection:
        connection.sendall(head(b"Content-Length: %d" % LARGEST) + body)
        assert statuses(connection.recv(65_536)) == [status]
        wait_until_held(service, 0)


def test_bytes_are_held_until_the_answer_and_given_back_by_who_hangs_up_or_waits_too_long(
    service: Service,
) -> None:
    with service.suspended():
        with connect(service.url) as gone, connect(service.url) as patient:
            gone.sendall(sent(of_size(300_000)))
            patient.sendall(sent(of_size(400_000)))
            service.wait_for_queue(2)
            assert service.metric("body_bytes") == 700_000 - 2 * SMALL_BYTES
            gone.close()
            wait_until_held(service, 400_000 - SMALL_BYTES)
            assert statuses(read_to_end(patient)) == [504]
        wait_until_held(service, 0)


def test_a_refusal_for_want_of_room_costs_no_request_of_the_callers() -> None:
    settings = {"max_body_bytes": LARGEST, "max_bodies_bytes": LARGEST}
    with running(max_requests_per_minute=3, **settings) as limited:
        wait_for_one_minute()
        with under_way(limited, LARGEST - 1):
            for _ in range(3):
                assert statuses(talk(limited.url, sent(of_size(LARGEST)))) == [503]
            answer = limited.embed(input="x")
            assert answer.headers["x-ratelimit-remaining-requests"] == "1"
