"""Bytes that no client sends: no 500, no hang, no trace of the inside, and the service lives on."""

import os
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.operations.wire import connect, read_to_end, statuses
from tests.server import Service, running

pytestmark = pytest.mark.operations

# The longest that a connection may last: half a request is waited for.
HEADER_S, BODY_S, KEEP_ALIVE_S = 0.3, 0.3, 1
SLACK_S = 8
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "30"))

PATHS = [
    *(
        "/v1/embeddings",
        "/tokenize",
        "/invocations",
        "/info",
        "/v1/models",
        "/v1/models/x",
        "/live",
    ),
    *(
        "/ready",
        "/metrics",
        "/",
        "/playground/",
        "/playground/../server.py",
        "/%2e%2e/%00",
        "//",
        "*",
    ),
    *("/openai/deployments/x/embeddings?api-version=1", "/embeddings/", "/docs", "/docs/"),
    *("http://localhost/live", "/v1/embeddings?x=%ff", "/" + "a" * 5000, "/\u00fc"),
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["quintet", "text-matching", "base64", "a b c", "retrieval.query"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
FIELDS = [
    *("input", "texts", "content", "model", "task", "task_type", "dimensions", "late_chunking"),
    *("late_chunking_overlap", "embedding_type", "encoding_format", "normalized", "truncate"),
    *("user", "data", "parameters", "counts_only", "unknown", "taks", "input_type"),
]


def lenient_json(value: object) -> bytes:
    """JSON as far as it goes; huge numbers and such by Python's own spelling."""
    try:
        return orjson.dumps(value)
    except (TypeError, ValueError):
        return repr(value).encode("utf-8", "surrogatepass")


BODIES = (
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6).map(lenient_json)
    | st.builds(
        lambda value: lenient_json({"input": "a b c", **value}),
        st.dictionaries(st.sampled_from(FIELDS[3:]), VALUES, max_size=3),
    )
    | st.just(b'{"input": "a b c"}')
    | st.binary(max_size=200)
    | st.sampled_from(
        [b"", b"[" * 5000, b'{"input": "\\ud800"}', b'{"input": NaN}', b'"\xff"', b"\xef\xbb\xbf{}"]
    )
)
HEADERS = st.sampled_from(
    [
        *(
            b"Content-Length: 5",
            b"Content-Length: -1",
            b"Transfer-Encoding: chunked",
            b"Expect: 100-continue",
        ),
        *(b"Connection: close", b"Connection: Upgrade", b"Upgrade: h2c", b"Upgrade: websocket"),
        *(
            b"Content-Type: text/csv",
            b"Content-Type: \xff",
            b"Content-Encoding: gzip",
            b"X-Request-Id: \xe4",
        ),
        *(
            b"Host: a:b:c",
            b": empty",
            b"no colon",
            b" folded",
            b"X: " + b"y" * 9000,
            b"Range: bytes=9-1",
        ),
        *(b"Host: \xff", b"Origin: null", b"Sec-Fetch-Site: cross-site", b"api-key: \xff"),
        *(b"Range: bytes=0-1,2-3", b"If-Modified-Since: never", b"Authorization: Basic \xff", b""),
    ]
)
METHODS = st.sampled_from(
    [b"POST", b"GET", b"PUT", b"OPTIONS", b"HEAD", b"CONNECT", b"TRACE", b"post", b"\0"]
)
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTP/1.1", b""])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is right in most places: only such ones come far."""
    rarely = st.integers(0, 5).map(lambda number: number == 5)
    method = draw(METHODS) if draw(rarely) else b"POST"
    path = draw(st.sampled_from(PATHS) if draw(st.booleans()) else st.sampled_from(PATHS[:3]))
    version = draw(VERSIONS) if draw(rarely) else b"HTTP/1.1"
    headers = [b"Host: localhost", *(draw(st.lists(HEADERS, max_size=2)) if draw(rarely) else [])]
    body = draw(BODIES)
    if not draw(rarely):
        headers.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([b" ".join([method, path.encode(), version]), *headers, b"", body])


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """Some requests on one connection, now and then cut or with a byte changed."""
    sent = bytearray(b"".join(draw(st.lists(requests(), min_size=1, max_size=3))))
    for _ in range(max(draw(st.integers(-4, 2)), 0)):
        sent[draw(st.integers(0, len(sent) - 1))] = draw(st.integers(0, 255))
    return bytes(sent[: None if draw(st.integers(0, 3)) else draw(st.integers(0, len(sent)))])


def talk_all(service: Service, wires: list[bytes]) -> list[bytes]:
    """Conversations at the same time, so that the waits for what is missing overlap."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(service.url)) for _ in wires]
        for connection, wire in zip(connections, wires, strict=True):
            with suppress(ConnectionError):
                connection.sendall(wire)
        return [read_to_end(connection) for connection in connections]


def test_no_bytes_bring_a_500_a_hang_or_a_trace(original: Path) -> None:
    limits = {"header_timeout_s": HEADER_S, "body_timeout_s": BODY_S, "keep_alive_s": KEEP_ALIVE_S}
    seen: Counter[int] = Counter()
    with running(model=original, **limits) as service:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(st.lists(conversations(), min_size=8, max_size=16))
        def run(wires: list[bytes]) -> None:
            began = time.monotonic()
            answers = talk_all(service, wires)
            assert time.monotonic() - began <= 3 * (HEADER_S + BODY_S + KEEP_ALIVE_S + 1) + SLACK_S
            for wire, answer in zip(wires, answers, strict=True):
                seen.update(statuses(answer))
                assert max(statuses(answer), default=0) < 500, wire
                assert b"Traceback" not in answer, wire
                assert b'File "' not in answer, wire

        run()
        _, trace, rest = service.log.text().partition("Traceback")
        assert not trace, rest[:4000]
        print(seen)
        assert set(seen) >= {200, 400, 404, 405, 422}  # they come far
        assert service.embed(input="x").status_code == 200
        assert service.metric("queue_tokens") == 0
