"""Slow, silent, greedy and ambiguous callers: bounded, answered or cut; others feel nothing."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import pytest

from tests.exchange import get, post
from tests.load import under_load
from tests.operations.wire import connect, read_to_end, seconds_until_closed, statuses, talk
from tests.server import Service, running

pytestmark = pytest.mark.operations

BODY = b'{"input": "a b c"}'
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
ONE_CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
SMUGGLED = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
# What a machine that others use too adds to a deadline.
SLACK_S = 5


def request(
    *headers: bytes, body: bytes = BODY, line: bytes = b"POST /v1/embeddings HTTP/1.1"
) -> bytes:
    return b"\r\n".join([line, b"Host: x", *headers, b"", body])


AMBIGUOUS = {
    "length and chunks": request(LENGTH, CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "chunks and length": request(CHUNKED, LENGTH, body=b"0\r\n\r\n" + SMUGGLED),
    "two lengths": request(LENGTH, b"Content-Length: 3"),
    "the same length twice": request(LENGTH, LENGTH),
    "a list of lengths": request(LENGTH + b", 18"),
    "a length with a sign": request(b"Content-Length: +18"),
    "a negative length": request(b"Content-Length: -1"),
    "a hexadecimal length": request(b"Content-Length: 0x12"),
    "a length past 64 bits": request(b"Content-Length: 99999999999999999999"),
    "chunks misspelt": request(b"Transfer-Encoding: xchunked", body=ONE_CHUNK),
    "chunks not last": request(b"Transfer-Encoding: chunked, identity", body=ONE_CHUNK),
    "chunks twice": request(CHUNKED, CHUNKED, body=ONE_CHUNK),
    "chunks behind a space": request(b"Transfer-Encoding : chunked", body=ONE_CHUNK),
    "chunks behind a control": request(b"Transfer-Encoding: \x0bchunked", body=ONE_CHUNK),
    "chunks on a folded line": request(b"Transfer-Encoding:\r\n chunked", body=ONE_CHUNK),
    "a folded line": request(b"X-A: a\r\n b", LENGTH),
    "line feeds alone": b"GET /live HTTP/1.1\nHost: x\n\n",
    "a line feed in a header": b"GET /live HTTP/1.1\r\nHost: x\nX-A: a\r\n\r\n",
    "a carriage return in a header": b"GET /live HTTP/1.1\r\nHost: x\rX-A: a\r\n\r\n",
    "a zero in a header": b"GET /live HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n",
    "a chunk size of letters": request(CHUNKED, body=b"zz\r\n" + BODY),
    "a wrong chunk where more was awaited": request(
        b"Expect: 100-continue", CHUNKED, body=b"zz\r\n"
    ),
    "a negative chunk": request(CHUNKED, body=b"-12\r\n" + BODY),
    "a chunk past 64 bits": request(CHUNKED, body=b"fffffffffffffffff\r\n" + BODY),
    "a chunk with 0x": request(CHUNKED, body=b"0x" + ONE_CHUNK),
    "a chunk that ends late": request(CHUNKED, body=b"5\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunks with line feeds": request(CHUNKED, body=ONE_CHUNK.replace(b"\r", b"")),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("1603010200010001fc0303") + bytes(64),
    "a proxy's CONNECT": b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no ASCII in the path": "GET /ü HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_what_two_readers_could_read_in_two_ways_is_refused_whole(
    service: Service, sent: bytes
) -> None:
    """One answer, 400 with the one error body, and the connection ends: nothing is smuggled."""
    answer = talk(service.url, sent)
    assert statuses(answer) == [400]
    error = orjson.loads(answer.partition(b"\r\n\r\n")[2])
    assert error["code"] == "INPUT_INVALID_HTTP"
    assert error["error"]["type"] == "invalid_request_error"


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
    kinds = [post({"input": "a b c"}), get("/live"), get("/ready")]
    with under_load(service.url, 30, lambda number: kinds[number % 3], reuse=False) as quiet:
        time.sleep(2)
    with under_load(service.url, 30, lambda number: kinds[number % 3], reuse=False) as beside:
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
    asked = b"GET /playground/playground.png HTTP/1.1\r\nHost: x\r\n\r\n" * 100
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
        busy.sendall(BODY)
        assert statuses(busy.recv(1000)) == [200]
        assert service.embed(input="x").status_code == 200


def test_idle_connections_are_closed_in_time(service: Service) -> None:
    with connect(service.url) as connection:
        seconds, answer = seconds_until_closed(connection)
    assert answer == b""
    assert 2.9 <= seconds <= 3 + SLACK_S
