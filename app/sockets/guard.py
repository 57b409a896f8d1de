"""Guard: what one caller may hold, in time and in number. uvicorn itself would wait for ever.

1. A connection on which nothing comes is closed after `keep_alive_s`.
2. A request's headers must be complete `header_timeout_s` after their first byte, its body
   `body_timeout_s` later: else 408, or just the end where an answer is out already. Headers that
   go on past MAX_HEAD_BYTES are answered 431; httptools would gather them until memory ends.
3. An answer must be taken: when no byte of it moves, the connection is cut after `send_timeout_s`
   at most.
4. At most `max_connections` are open. One more makes the oldest that has no request under way give
   way; where each has one, the newcomer is answered 503 with Retry-After.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.errors import (
    HeadersTooLargeError,
    HeaderTimeoutError,
    InvalidHttpError,
    QuintetError,
    TooManyConnectionsError,
)
from app.settings import MAX_HEAD_BYTES, Settings
from app.sockets.refusals import Refusals
from app.telemetry.metrics import Metrics

log = logging.getLogger("quintet.guard")

# What the application has for its own 408 before the connection is closed under it.
_GRACE_S = 1.0


@dataclass(slots=True)
class Crowd:
    """All connections of the process; `idle` are those without a request, the oldest first."""

    settings: Settings
    refusals: Refusals
    count: int = 0
    idle: dict["GuardedProtocol", None] = field(default_factory=dict)


def guarded(settings: Settings, metrics: Metrics) -> Any:
    """What uvicorn.Config takes as `http`: makes the protocol of each connection."""
    return partial(GuardedProtocol, crowd=Crowd(settings, Refusals(metrics)))


class GuardedProtocol(HttpToolsProtocol):
    """One connection. See the top of the file."""

    def __init__(self, *args: Any, crowd: Crowd, **options: Any) -> None:
        super().__init__(*args, **options)
        self._crowd = crowd
        self._receiving: asyncio.TimerHandle | None = None  # the deadline of what is on its way
        self._sending: asyncio.TimerHandle | None = None
        self._requests: deque[RequestResponseCycle] = deque()  # not answered, in order
        self._refused = False
        self._began = self.loop.time()  # when the connection did, or the request that came last
        self._heads = 0  # that have begun
        self._head_bytes: int | None = None  # of the one that is being read; None between heads
        self._declined = b""  # the head of a request that offers another protocol, without that

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it; make room, or refuse."""
        super().connection_made(transport)
        self._crowd.count += 1
        if self._crowd.count > self._crowd.settings.max_connections:
            oldest = next(iter(self._crowd.idle), None)
            if oldest is None:
                self._refuse(TooManyConnectionsError(self._crowd.settings.max_connections))
                return
            oldest.end()
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing of it stays."""
        super().connection_lost(exc)
        self._give_up()
        self._crowd.count -= 1
        self._crowd.idle.pop(self, None)
        self._expect_nothing()
        self._unset_keepalive_if_required()
        if self._sending is not None:
            self._sending.cancel()

    def _give_up(self) -> None:
        """Nobody is there for what is not answered: the application hears of it."""
        self.pipeline.clear()
        for cycle in self._requests:
            cycle.disconnected, cycle.waiting_for_100_continue = True, False
            cycle.message_event.set()

    def end(self) -> None:
        """Close it: nobody is owed an answer on it."""
        self._crowd.idle.pop(self, None)
        self.transport.close()
        self._watch_sending()

    # What comes in.

    def data_received(self, data: bytes) -> None:
        """Bytes of requests, or what claims to be."""
        if self._refused or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        heads = self._heads
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self._declined:
                self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:  # no word of it is believed
            self._refuse(InvalidHttpError())
        if self._heads == heads and self._head_bytes is not None:
            # Of the read in which a head began nothing is counted: it may be a body's.
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self._refused:
                self._refuse(HeadersTooLargeError(MAX_HEAD_BYTES))
        if self in self._crowd.idle and self._receiving is None:
            self._rest()  # bytes that begin no request do not prolong it

    def _decline(self, rest: bytes) -> None:
        """Read a request as if it did not offer another protocol. Java's client offers HTTP/2 with
        each first POST, and the parser would take its body for that."""
        head, self._declined = self._declined, b""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(head + rest)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._began = self.loop.time()
        self._heads += 1
        self._head_bytes = 0
        self._expect(self._crowd.settings.header_timeout_s, self._headers_late)

    def on_headers_complete(self) -> None:
        """A request begins."""
        self._head_bytes = None
        method = self.parser.get_method()
        if self.parser.should_upgrade() and method != b"CONNECT":
            version = self.parser.get_http_version().encode()
            lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
            lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
            self._declined = b"\r\n".join([*lines, b"", b""])
            return
        super().on_headers_complete()
        self._requests.append(self.cycle)
        self._crowd.idle.pop(self, None)
        self._expect(self._crowd.settings.body_timeout_s + _GRACE_S, self._body_late)

    def on_message_complete(self) -> None:
        """A request is here."""
        if self._declined:
            return
        self._expect_nothing()
        super().on_message_complete()

    def _expect(self, seconds: float, late: Callable[[], None]) -> None:
        self._expect_nothing()
        self._receiving = self.loop.call_later(seconds, late)

    def _expect_nothing(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def _headers_late(self) -> None:
        if self in self._crowd.idle:
            self._refuse(HeaderTimeoutError(self._crowd.settings.header_timeout_s))
        else:  # the request before it is still being answered
            self._expect(self._crowd.settings.header_timeout_s, self._headers_late)

    def _body_late(self) -> None:
        if self.pipeline:  # nobody reads it before the request before it is answered
            self._expect(self._crowd.settings.body_timeout_s, self._body_late)
        else:
            self.end()

    def _rest(self) -> None:
        """Nothing is under way: wait for the next request, but not for ever."""
        self._crowd.idle[self] = None
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _refuse(self, error: QuintetError) -> None:
        """Answer with the one error body and hang up, a moment after: a connection that is closed
        before all is read breaks off, and the caller sees no answer."""
        seconds, address = self.loop.time() - self._began, self.client and self.client[0]
        answer = self._crowd.refusals.answer(error, address, seconds)
        self._refused = True
        self._crowd.idle.pop(self, None)
        self._expect(_GRACE_S, self.end)
        self._give_up()
        if self._requests and self._requests[0].response_started:
            self.end()  # what follows would be read as a part of that answer
            return
        self.transport.write(answer)
        self.transport.write_eof()

    # What goes out.

    def on_response_complete(self) -> None:
        """An answer is handed to the connection; whether it is taken is watched."""
        self._requests.popleft()
        super().on_response_complete()
        self._watch_sending()
        if not self.pipeline and not self.transport.is_closing():
            self._crowd.idle[self] = None

    def pause_writing(self) -> None:
        """An answer waits for its reader."""
        super().pause_writing()
        self._watch_sending()

    def shutdown(self) -> None:
        """The port is closed: answer what is under way, and go; a first request may yet come."""
        if self._heads:
            super().shutdown()
        else:
            self._expect(_GRACE_S, self.end)
        self._watch_sending()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came."""
        self.end()

    def _watch_sending(self) -> None:
        """Look twice in the time that an answer has to move."""
        if self._sending is not None:
            self._sending.cancel()
        unsent = self.transport.get_write_buffer_size()
        wait = self._crowd.settings.send_timeout_s / 2
        self._sending = self.loop.call_later(wait, self._check_sending, unsent)

    def _check_sending(self, before: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if 0 < before <= unsent:
            log.warning("a caller does not read its answer: %d bytes of it are dropped", unsent)
            self.transport.abort()
        elif unsent:
            self._watch_sending()
