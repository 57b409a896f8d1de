"""Exchange: requests as bytes, answers, keep-alive connections: cheap beside what they measure."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

OK = "ok"
TIMEOUT = "timeout"
_STREAM_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def status_alone(answer: Answer) -> str:
    """The judge who looks no further than the status."""
    return OK if answer.status == 200 else str(answer.status)


@dataclass(frozen=True, slots=True)
class Request:
    """The bytes on the wire, who judges the answer, and how many tokens it costs."""

    wire: bytes
    judge: Callable[[Answer], str] = status_alone
    tokens: int = 0


def post(
    body: Mapping[str, Any] | bytes,
    judge: Callable[[Answer], str] = status_alone,
    *,
    path: str = "/v1/embeddings",
    tokens: int = 0,
    key: str | None = None,
) -> Request:
    """A POST of a JSON body."""
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(sent)}\r\n{_authorization(key)}\r\n"
    )
    return Request(head.encode() + sent, judge, tokens)


def get(path: str, judge: Callable[[Answer], str] = status_alone) -> Request:
    """A GET."""
    return Request(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), judge)


def _authorization(key: str | None) -> str:
    return f"Authorization: Bearer {key}\r\n" if key else ""


class BrokenOffError(Exception):
    """The connection ended before the answer did."""


class Connection:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._open = True

    @classmethod
    async def to(cls, url: str) -> "Connection":
        """Connect to http://host:port.

        Raises:
            OSError: nobody listens.
        """
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port, limit=_STREAM_BYTES))

    @property
    def usable(self) -> bool:
        """Whether another request may be sent: the server has not said or shown that it ends."""
        return self._open and not self._reader.at_eof()

    async def ask(self, wire: bytes) -> Answer:
        """Send a request and read its answer.

        Raises:
            OSError, BrokenOffError: there was none, or half of one.
        """
        self._writer.write(wire)
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head[:-4].split("\r\n")
            pairs = (line.split(":", 1) for line in lines)
            headers = {name.lower(): value.strip() for name, value in pairs}
            if "content-length" in headers:
                body = await self._reader.readexactly(int(headers["content-length"]))
            else:
                body, self._open = await self._reader.read(), False
        except asyncio.IncompleteReadError as error:
            seen = "in the answer" if error.partial else "before the answer"
            raise BrokenOffError(f"broken off {seen}") from None
        if headers.get("connection", "").lower() == "close":
            self._open = False
        return Answer(int(status_line.split(" ", 2)[1]), headers, body)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


class Pool:
    """Connections that are free, newest first, so that few are used. `reuse=False` opens one for
    each request."""

    def __init__(self, url: str, timeout_s: float, *, reuse: bool = True) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._reuse = reuse
        self._free: list[Connection] = []

    async def kind_of(self, request: Request) -> str:
        """Ask and judge; what breaks is a kind too."""
        connection, keep = None, False
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._connection()
                answer = await connection.ask(request.wire)
            keep = self._reuse and connection.usable
        except TimeoutError:
            return TIMEOUT
        except BrokenOffError as error:
            return str(error)
        except OSError as error:
            return type(error).__name__
        finally:
            if connection is not None and keep:
                self._free.append(connection)
            elif connection is not None:
                connection.close()
        return request.judge(answer)

    async def _connection(self) -> Connection:
        while self._free:
            connection = self._free.pop()
            if connection.usable:
                return connection
            connection.close()
        return await Connection.to(self._url)

    def close(self) -> None:
        """Hang up on all that are free."""
        for connection in self._free:
            connection.close()
