"""Answers that callers do not read take memory, which is bounded for all of them together."""

import json
import socket
from contextlib import ExitStack

from tests.operations.wire import LENGTH, connect, read_to_end, request, talk
from tests.server import running
from tests.waiting import wait_until

# Answered by 9 MB, of which the sockets of a connection take 4 at most.
BODY = json.dumps({"input": ["a"] * 2048}).encode()
ASKED = request(b"Connection: close", b"Content-Length: %d" % len(BODY), body=BODY)


def test_the_answer_that_has_waited_longest_is_dropped_where_all_take_too_much() -> None:
    limits = {"max_body_bytes": 1_000_000, "max_bodies_bytes": 1_000_000}  # 4 MB of answers
    with running(**limits, send_timeout_s=600) as service, ExitStack() as stack:
        connections = [stack.enter_context(connect(service.url, 4096)) for _ in range(3)]
        dropped = "answers that nobody reads have"
        for count, connection in enumerate(connections):
            connection.sendall(ASKED)
            assert connection.recv(1, socket.MSG_PEEK)
            if count:
                service.log.wait_for(dropped, count=count)
        *early, last = map(read_to_end, connections)
        assert len(last) > 8_000_000
        assert last.endswith(b"]}")
        assert not any(each.endswith(b"]}") for each in early)
        assert service.embed(input="a").status_code == 200
        assert service.metric("dropped_answers_total") == 2


def test_answers_whose_callers_hang_up_are_counted() -> None:
    with running(send_timeout_s=600) as service:
        with connect(service.url) as connection:
            connection.sendall(ASKED)
            assert read_to_end(connection).endswith(b"]}")
        for _ in range(5):
            assert talk(service.url, request(b"Connection: close", LENGTH)).endswith(b"}")
        assert service.metric("dropped_answers_total") == 0
        with connect(service.url, 4096) as connection:
            connection.sendall(ASKED)
            assert connection.recv(1, socket.MSG_PEEK)
        wait_until(lambda: service.metric("dropped_answers_total") == 1, "an answer that counts")


def test_an_answer_that_is_not_read_in_time_is_counted() -> None:
    with running(send_timeout_s=1) as service, connect(service.url, 4096) as connection:
        connection.sendall(ASKED)
        service.log.wait_for("a caller does not read its answer")
        wait_until(lambda: service.metric("dropped_answers_total") == 1, "an answer that counts")
