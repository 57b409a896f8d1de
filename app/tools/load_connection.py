"""One keep-alive connection of a load generator: a request, its answer, the next request."""

import asyncio
from typing import Any, Protocol

import httptools
import orjson

from app.tools.load import Load

# A refusal costs the service nothing; a generator that spins on it would take its cores.
PAUSE_S = 0.05
_SENTENCE_BYTES = 300
_OK = 200


class Sender(Protocol):
    """Who sends by the connection, and is told what becomes of it."""

    load: Load

    def ready(self, connection: "LoadConnection") -> None:
        """It can take a request."""

    def lost(self, connection: "LoadConnection") -> None:
        """It can take no requests any more."""

    def answered(self, number: int, due: float, body: list[bytes]) -> None:
        """A right answer came."""

    def failed(self, kind: str, count: int = 1, sentence: str = "") -> None:
        """Something went wrong."""

    def done(self) -> None:
        """There is one request less to wait for."""


class LoadConnection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, run: Sender) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._asked: tuple[int, float] | None = None  # number and time of what is not answered yet
        self._timer: asyncio.TimerHandle | None = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._run.ready(self)

    def send(self, wire: bytes, number: int, due: float) -> None:
        """Send a request."""
        self._asked = number, due
        loop, timeout_s = asyncio.get_running_loop(), self._run.load.timeout_s
        self._timer = loop.call_later(timeout_s, self._fail, f"no answer in {timeout_s:g} s")
        self._transport.write(wire)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"not HTTP: {error}")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        asked, status = self._settle(), self._parser.get_status_code()
        body, self._body = self._body, []
        if asked is None:
            return
        if not self._parser.should_keep_alive():
            self.close()
        if status == _OK:
            self._run.answered(*asked, body)
            self._ready()
        else:
            self._run.failed(f"status {status}", sentence=_sentence(b"".join(body)))
            self._run.done()
            asyncio.get_running_loop().call_later(PAUSE_S, self._ready)

    def _ready(self) -> None:
        if not self._transport.is_closing():
            self._run.ready(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._run.lost(self)
        self._fail("broken off")
        self.lost.set()

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def _settle(self) -> tuple[int, float] | None:
        """What was asked; nothing is awaited any more."""
        asked, self._asked = self._asked, None
        if self._timer is not None:
            self._timer.cancel()
        return asked

    def _fail(self, kind: str) -> None:
        if self._settle() is not None:
            self._run.failed(kind)
            self._run.done()
        self._transport.abort()


def _sentence(body: bytes) -> str:
    """What an error answer says, in OpenAI's form or another."""
    try:
        found = orjson.loads(body)
        return str(found["error"]["message"])
    except (KeyError, TypeError, ValueError):
        return body[:_SENTENCE_BYTES].decode(errors="replace").strip()
