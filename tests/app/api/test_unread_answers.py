"""Answers that callers do not read take memory, which is bounded for all of them together."""

import json
import socket
from contextlib import ExitStack

from tests.server import running

# Answered by 9 MB, of which the sockets of a connection take 4 at most.
ASKED = json.dumps({"input": ["a"] * 2048}).encode()
REQUEST = b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b"


def answered(connection: socket.socket) -> bytes:
    """What comes until the answer, or the connection, ends."""
    received = bytearray()
    try:
        while not received.endswith(b"]}") and (part := connection.recv(1 << 20)):
            received += part
    except ConnectionError:
        pass
    return bytes(received)


def test_the_answer_that_has_waited_longest_is_dropped_where_all_take_too_much() -> None:
    limits = {"max_body_bytes": 1_000_000, "max_bodies_bytes": 1_000_000}  # 4 MB of answers
    with running(**limits, send_timeout_s=600) as service, ExitStack() as stack:
        host, port = service.url.removeprefix("http://").split(":")
        connections = []
        for _ in range(3):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(60)
            connection.connect((host, int(port)))
            connections.append(connection)
        dropped = "answers that nobody reads have"
        for count, connection in enumerate(connections):
            connection.sendall(REQUEST % (len(ASKED), ASKED))
            assert connection.recv(1, socket.MSG_PEEK)
            if count:
                service.log.wait_for(dropped, count=count)
        *early, last = map(answered, connections)
        assert len(last) > 8_000_000
        assert last.endswith(b"]}")
        assert not any(each.endswith(b"]}") for each in early)
        assert service.embed(input="a").status_code == 200
