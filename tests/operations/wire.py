"""Raw bytes on a socket: what no HTTP client would send."""

import re
import socket
import time
from contextlib import suppress
from urllib.parse import urlsplit

BODY = b'{"input": "a b c"}'
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
ONE_CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


def request(
    *headers: bytes, body: bytes = BODY, line: bytes = b"POST /v1/embeddings HTTP/1.1"
) -> bytes:
    """A request's bytes: a line, a host, these headers, this body."""
    return b"\r\n".join([line, b"Host: localhost", *headers, b"", body])


def connect(url: str, receive_buffer: int | None = None) -> socket.socket:
    """A TCP connection, with a small receive buffer if wanted."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(30)
    try:
        connection.connect((parts.hostname, parts.port))
    except OSError:
        connection.close()
        raise
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the other side ends the connection, in whatever way."""
    received = bytearray()
    with suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            received += part
    return bytes(received)


def talk(url: str, sent: bytes) -> bytes:
    """Send, and read until the server ends the connection."""
    with connect(url) as connection:
        with suppress(ConnectionError):  # it may have hung up; what it said is still to be read
            connection.sendall(sent)
        return read_to_end(connection)


def seconds_until_closed(connection: socket.socket) -> tuple[float, bytes]:
    """How long the server waits before it ends the connection, and what it says."""
    began = time.monotonic()
    received = read_to_end(connection)
    return time.monotonic() - began, received


def statuses(received: bytes) -> list[int]:
    """The statuses of all answers in what was received."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]
