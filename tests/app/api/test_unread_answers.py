"""Answers that callers do not read take memory, which is bounded for all of them together."""

import json
import socket
from contextlib import ExitStack

from tests.operations.wire import connect, read_to_end, request
from tests.server import running

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
