"""Bytes that two readers could read in two ways: refused whole by the service, and read in one way
by the balancer and the service behind it."""

import re
from collections.abc import Iterator

import httpx
import orjson
import pytest

from tests.operations.test_balancer import balancer, wait_until_up
from tests.operations.wire import BODY, CHUNKED, LENGTH, ONE_CHUNK, request, statuses, talk
from tests.server import Service

pytestmark = pytest.mark.operations

SMUGGLED = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"
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
    "line feeds alone": b"GET /live HTTP/1.1\nHost: localhost\n\n",
    "a line feed in a header": b"GET /live HTTP/1.1\r\nHost: x\nX-A: a\r\n\r\n",
    "a carriage return in a header": b"GET /live HTTP/1.1\r\nHost: x\rX-A: a\r\n\r\n",
    "a zero in a header": b"GET /live HTTP/1.1\r\nHost: localhost\r\nX-A: a\0b\r\n\r\n",
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
    "a proxy's CONNECT": b"CONNECT x:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no ASCII in the path": "GET /ü HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
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


@pytest.fixture(scope="module")
def balanced(service: Service) -> Iterator[str]:
    """The URL of a balancer in front of the service."""
    with balancer(service.url.removeprefix("http://")) as url:
        wait_until_up(url)
        yield url


def live_answers(service: Service) -> float:
    """How often the service has answered what SMUGGLED asks."""
    text = httpx.get(f"{service.url}/metrics", timeout=60).text
    found = re.findall(r'^quintet_requests_total{route="/live".*} (\S+)$', text, re.MULTILINE)
    return sum(map(float, found))


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_nothing_is_smuggled_through_the_balancer(
    service: Service, balanced: str, sent: bytes
) -> None:
    """What the service read as a request of its own, the balancer did too and passed its answer on;
    and whoever asks next over the balancer's connections is given their own answer."""
    before = live_answers(service)
    answer = talk(balanced, sent + request(LENGTH, b"Connection: close"))
    assert set(statuses(answer)) <= {200, 400}
    assert len(statuses(answer)) <= 2
    assert answer.count(b'{"status":"ok"}') == live_answers(service) - before
    for number in range(3):
        asked = {"x-request-id": f"next-{number}"}
        body = {"input": ["a"] * number + ["b"]}
        next_one = httpx.post(f"{balanced}/v1/embeddings", json=body, headers=asked, timeout=60)
        assert next_one.headers["x-request-id"] == f"next-{number}"
        assert len(next_one.json()["data"]) == number + 1
