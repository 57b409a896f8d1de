"""Slow, silent and greedy callers: bounded, answered or cut; others feel nothing."""

import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import orjson
import pytest

from tests.exchange import Request, get, post
from tests.load import under_load
from tests.operations.wire import (
    BODY,
    CHUNKED,
    LENGTH,
    ONE_CHUNK,
    connect,
    read_to_end,
    request,
    seconds_until_closed,
    statuses,
    talk,
)
from tests.server import Service, running

pytestmark = pytest.mark.operations

# What a machine that others use too adds to a deadline.
SLACK_S = 5


def test_an_offer_of_http_2_is_declined_and_the_request_answered(service: Service) -> None:
    """Java's HTTP client sends one with its first POST; the body must not be taken for HTTP/2."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"
    for kind, body in ((LENGTH, BODY), (CHUNKED, ONE_CHUNK)):
        sent = request(offer, kind, body=body)
        assert statuses(talk(service.url, sent + request(LENGTH, b"Connection: close"))) == [
            200,
            200,
        ]
        with connect(service.url) as connection:
            for part in (sent[:90], sent[90:-5], sent[-5:], request(b"Connection: close", LENGTH)):
                connection.sendall(part)
                time.sleep(0.02)  # so that they arrive as parts
            assert statuses(read_to_end(connection)) == [200, 200]


@contextmanager
def others_feel_nothing(service: Service) -> Iterator[None]:
    """While the block runs, somebody else's requests are answered as quickly as before."""

    def kinds(number: int) -> Request:
        text = f"{time.monotonic_ns()} was never sent before"
        return (post({"input": text}), get("/live"), get("/ready"))[number % 3]

    with under_load(service.url, 30, kinds, reuse=False) as quiet:
        time.sleep(2)
    with under_load(service.url, 30, kinds, reuse=False) as beside:
        yield
    print(f"before: {quiet.report()}\nbeside: {beside.report()}")
    assert beside.failed == 0
    assert beside.latency(0.95) <= 5 * quiet.latency(0.95) + 0.25


def test_slow_and_silent_callers_are_sent_away(service: Service) -> None:
    head = request(LENGTH, body=b"")
    slow = {
        "nothing at all": (b"", 3, []),
        "line breaks alone": (b"\r\n\r\n", 3, []),
        "half of the headers": (head[:40], 1, [408]),
        "half of the body": (head + BODY[:5], 1, [408]),
        "half of a body that nobody reads": (
            request(LENGTH, line=b"POST /no HTTP/1.1", body=b""),
            1,
            [404],
        ),
        "half of a chunk": (request(CHUNKED, body=ONE_CHUNK[:9]), 1, [408]),
        "an answered request": (request(LENGTH), 3, [200]),
        "half of a second request": (request(LENGTH) + head[:40], 1, [200, 408]),
    }
    with others_feel_nothing(service), ExitStack() as stack:
        connections = {name: stack.enter_context(connect(service.url)) for name in slow}
        for name, connection in connections.items():
            connection.sendall(slow[name][0])
        began = time.monotonic()
        for name, connection in connections.items():
            answer = read_to_end(connection)
            _, patience, expected = slow[name]
            assert statuses(answer) == expected, name
            assert time.monotonic() - began <= patience + 1 + 1 + SLACK_S, name


def test_a_byte_now_and_then_buys_no_time(service: Service) -> None:
    """Deadlines count from the first byte, not from the last one."""
    sent = request(LENGTH, b"X-Padding: " + b"a" * 1000)
    with connect(service.url) as connection:
        began = time.monotonic()
        try:
            for byte in sent:
                connection.sendall(bytes([byte]))
                time.sleep(0.1)
        except ConnectionError:
            pass
        assert time.monotonic() - began <= 1 + 1 + SLACK_S


def test_callers_who_never_read_are_cut_off(service: Service) -> None:
    """Each asks for some megabytes and reads none: the service keeps them for 2 s, not for ever."""
    seen = len(service.log.text().split("does not read its answer")) - 1
    asked = b"GET /playground/playground.png HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100
    with others_feel_nothing(service), ExitStack() as stack:
        deaf = [stack.enter_context(connect(service.url, 4096)) for _ in range(10)]
        for connection in deaf:
            connection.sendall(asked)
        service.log.wait_for("does not read its answer", 20, seen + len(deaf))
        for connection in deaf:
            assert 0 < len(statuses(read_to_end(connection))) < 100


def test_1000_idle_connections_and_callers_who_vanish_are_not_felt(service: Service) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    began = time.monotonic()
    with others_feel_nothing(service), ExitStack() as stack:
        idle = [stack.enter_context(connect(service.url)) for _ in range(1000)]
        for number in range(50):
            gone = connect(service.url)
            gone.sendall(request(LENGTH, body=BODY[: number % len(BODY)]))
            if number % 2:  # a reset in place of an end
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            gone.close()
        assert not any(map(read_to_end, idle))
    assert time.monotonic() - began <= 2 + 3 + 4 * SLACK_S
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_connection_too_many_takes_the_place_of_the_oldest_idle_one(original: Path) -> None:
    with ExitStack() as stack:
        service = stack.enter_context(
            running(model=original, max_connections=3, header_timeout_s=60)
        )

        def opened() -> socket.socket:
            return stack.enter_context(connect(service.url))

        oldest, older = opened(), opened()
        older.sendall(b"GET /li")  # headers on their way are no request yet
        busy = opened()
        busy.sendall(request(LENGTH, b"Expect: 100-continue", body=b""))
        assert statuses(busy.recv(100)) == [100]
        for evicted in (oldest, older):
            new = opened()
            new.sendall(request(LENGTH, b"Expect: 100-continue", body=b""))
            assert statuses(new.recv(100)) == [100]
            assert read_to_end(evicted) == b""
        # Now all three are busy.
        refused = talk(service.url, request(LENGTH))
        assert statuses(refused) == [503]
        assert b"\r\nretry-after: 1\r\n" in refused
        assert b"all 3 connections that may be open are busy" in refused
        service.log.wait_for(line_of(refused, 503, "too many connections"))
        busy.sendall(BODY)
        assert statuses(busy.recv(1000)) == [200]
        assert service.embed(input="x").status_code == 200
        assert refused_for(service, "too many connections") == 1


def test_idle_connections_are_closed_in_time(service: Service) -> None:
    with connect(service.url) as connection:
        seconds, answer = seconds_until_closed(connection)
    assert answer == b""
    assert 2.9 <= seconds <= 3 + SLACK_S


def line_of(answer: bytes, status: int, reason: str) -> str:
    """The access log line of an answer that no request was there for."""
    (request_id,) = re.findall(r"x-request-id: (\w+)", answer.decode())
    code = orjson.loads(answer.partition(b"\r\n\r\n")[2])["code"]
    return f" - - {status} ms=[\\d.]+ request_id={request_id} code={code} reason={reason} address="


def refused_for(service: Service, reason: str) -> float:
    text = httpx.get(f"{service.url}/metrics", timeout=60).text
    (count,) = re.findall(rf'^quintet_refused_total{{reason="{reason}"}} (\S+)', text, re.MULTILINE)
    return float(count)


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (b"no HTTP\r\n\r\n", 400, "invalid HTTP"),
        (b"GET /live HTTP/1.1\r\nHost", 408, "headers too slow"),
        (b"GET /live HTTP/1.1\r\nX: " + b"a" * 500_000, 431, "headers too large"),
    ],
)
def test_what_never_became_a_request_is_counted_and_has_its_line_in_the_log(
    service: Service, sent: bytes, status: int, reason: str
) -> None:
    before = refused_for(service, reason)
    answer = talk(service.url, sent)
    assert statuses(answer) == [status]
    service.log.wait_for(line_of(answer, status, reason))
    assert refused_for(service, reason) == before + 1
