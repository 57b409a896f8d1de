"""SIGTERM with callers who hold on: it ends in time all the same, and everyone else is answered."""

import concurrent.futures
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.exchange import OK, Request, post
from tests.load import MakeRequest, under_load
from tests.operations.conftest import PATIENCE
from tests.operations.wire import connect, read_to_end, statuses
from tests.server import Service, running

pytestmark = pytest.mark.operations

DRAIN_S = 1
# What a machine that others use too adds: the engine's end, the process's end.
SLACK_S = 10
MANY = b"GET /playground/playground.png HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400


def test_callers_who_hold_on_do_not_hold_back_the_drain(original: Path) -> None:
    """Idle, slow and never-reading callers cost at most the longest of the limits for them."""
    body = b'{"input": "a b c"}'
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    # Limits so long that ending in time shows that none of them adds to another.
    with (
        running(model=original, drain_delay_s=DRAIN_S, **PATIENCE) as service,
        ExitStack() as stack,
    ):
        opened = {
            name: stack.enter_context(connect(service.url, 4096))
            for name in ("idle", "answered", "half a header", "half a body", "deaf")
        }
        opened["answered"].sendall(head + body)
        assert statuses(opened["answered"].recv(1000)) == [200]
        opened["deaf"].sendall(MANY)
        opened["half a header"].sendall(head[:30])
        opened["half a body"].sendall(head + body[:3])
        began = time.monotonic()
        assert service.stop(signal.SIGTERM) == 0
        seconds = time.monotonic() - began
        assert seconds <= DRAIN_S + max(PATIENCE.values()) + SLACK_S
        answers = {name: statuses(read_to_end(each)) for name, each in opened.items()}
        assert answers["idle"] == []
        assert answers["half a body"] == [408]
        assert "Traceback" not in service.log.text()


def always(request: Request) -> MakeRequest:
    return lambda _number: request


def await_closed_port(service: Service) -> None:
    deadline = time.monotonic() + DRAIN_S + SLACK_S
    with suppress(ConnectionRefusedError):
        while time.monotonic() < deadline:
            connect(service.url).close()
            time.sleep(0.02)
        pytest.fail("the port stays open")


def test_what_was_accepted_is_answered_beside_callers_who_hold_on(original: Path) -> None:
    """A body that is complete after the port has closed is an accepted request too."""
    body = b'{"input": "a b c"}'
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    settings = {**PATIENCE, "body_timeout_s": 30}
    with (
        running(model=original, drain_delay_s=DRAIN_S, **settings) as service,
        connect(service.url) as slow,
        connect(service.url, 4096) as deaf,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        deaf.sendall(MANY)
        slow.sendall(head + body[:3])
        with under_load(service.url, 30, always(post(body)), reuse=False) as outcome:
            time.sleep(1)
            ended = pool.submit(service.stop, signal.SIGTERM)
            await_closed_port(service)
        slow.sendall(body[3:])
        assert statuses(read_to_end(slow)) == [200]
        assert ended.result() == 0
        print(outcome.report())
        assert set(outcome.kinds) <= {OK, "ConnectionRefusedError", "ConnectionResetError"}
        assert outcome.kinds["ConnectionResetError"] <= 1  # in the backlog when the port closed
