"""The HTTP protocol of a connection with limits in time, bytes and number, which uvicorn lacks.

1. A connection on which nothing arrives is closed after `keep_alive_s`.
2. A request's headers must be complete `header_timeout_s` after their first byte, its body
   `body_timeout_s` later: else 408, or only the end where an answer has begun. An uploaded file may
   take longer, if it does not come too slowly. Headers longer than MAX_HEAD_BYTES are answered 431,
   and so are trailers behind a body in chunks: httptools alone would collect either without a
   limit. Trailers are dropped, since they would stand among the headers.
3. A caller must read its answer: when no byte of it moves, the connection is aborted after
   `send_timeout_s` at most. What all callers together have not read yet is bounded in bytes:
   unread.py.
4. At most `max_connections` are open. One more closes the oldest without a request; where each has
   a request, the new one is answered 503 with Retry-After.
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
from app.settings import MAX_HEAD_BYTES, UPLOAD_PATH, Settings
from app.sockets.refusals import refusal
from app.sockets.unread import UnreadAnswers
from app.telemetry.metrics import Metrics

log = logging.getLogger("quintet.guard")

# What the application has for its own 408, or a caller for reading one, before the connection ends.
_GRACE_S = 1.0
# Bytes of answers that are not read, for each that bodies may have; its setting says so.
_UNREAD = 4


@dataclass(slots=True)
class Connections:
    """All connections of the process; `idle` are those without a request, the oldest first."""

    settings: Settings
    metrics: Metrics
    unread: UnreadAnswers
    count: int = 0
    idle: dict["GuardedProtocol", None] = field(default_factory=dict)


def guarded(settings: Settings, metrics: Metrics) -> Any:
    """The `http` of uvicorn.Config: makes the protocol of each connection."""
    unread = UnreadAnswers(_UNREAD * settings.max_bodies_bytes)
    return partial(GuardedProtocol, connections=Connections(settings, metrics, unread))


class GuardedProtocol(HttpToolsProtocol):
    """One connection. The top of the file has its limits."""

    def __init__(self, *args: Any, connections: Connections, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections = connections
        self._settings = connections.settings
        self._receive_timer: asyncio.TimerHandle | None = None  # of the headers or body on its way
        self._send_timer: asyncio.TimerHandle | None = None
        self._unanswered: deque[RequestResponseCycle] = deque()  # in order
        self._writing = False  # an answer, which fails where the caller is gone
        self._unread = False  # an answer waits for its caller to read it
        self._refused = False
        self._start = self.loop.time()  # of the connection, or of the latest request
        self._in_head = False
        self._pieces = 0  # heads and pieces of bodies that have begun
        self._head_bytes = 0  # that were read since then, of a head or of trailers
        self._plain_head = b""  # of a request that offers another protocol, without the offer
        self._uploaded: int | None = None  # bytes so far of a file; None for another body
        self._head_end = self._start

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection; where it is one too many, close an idle one or refuse it."""
        super().connection_made(transport)
        self._connections.count += 1
        if self._connections.count > self._settings.max_connections:
            oldest = next(iter(self._connections.idle), None)
            if oldest is None:
                self._refuse(TooManyConnectionsError(self._settings.max_connections))
                return
            oldest.hang_up()
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the requests and the timers."""
        super().connection_lost(exc)
        begun = any(cycle.response_started for cycle in self._unanswered)
        failed = self._writing and exc is not None
        if failed or begun or self._unread:
            self._connections.metrics.dropped_answers.inc()
        self._cancel_requests()
        self._connections.count -= 1
        self._connections.idle.pop(self, None)
        self._connections.unread.discard(self.transport)
        self._stop_receive_timer()
        self._unset_keepalive_if_required()
        if self._send_timer is not None:
            self._send_timer.cancel()

    def _cancel_requests(self) -> None:
        """Tell the application that the callers of unanswered requests have disconnected."""
        self.pipeline.clear()
        for cycle in self._unanswered:
            cycle.disconnected, cycle.waiting_for_100_continue = True, False
            cycle.message_event.set()

    def hang_up(self) -> None:
        """Close the connection when what is written to it is sent."""
        self._connections.idle.pop(self, None)
        self.transport.close()
        self._watch_sending()

    def data_received(self, data: bytes) -> None:
        """Parse the bytes of requests."""
        if self._refused or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        pieces = self._pieces
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self._plain_head:
                self._parse_without_offer(data[offer.args[0] :])
        except httptools.HttpParserError:  # nor are requests answered that came before on it
            self._refuse(InvalidHttpError())
        if self._pieces == pieces and self._receive_timer is not None and not self._refused:
            # The read in which a head began is not counted: it may be another request's body.
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_head()
        if self in self._connections.idle and self._receive_timer is None:
            self._wait_for_request()  # bytes that begin no request, which do not extend the wait

    def _parse_without_offer(self, rest: bytes) -> None:
        """Parse a request as if it did not offer another protocol. Java's client offers HTTP/2 with
        each first POST, and the parser would take its body for bytes of that protocol."""
        head, self._plain_head = self._plain_head, b""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(head + rest)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._start = self.loop.time()
        self._in_head = True
        self._begin_piece()
        self._start_receive_timer(self._settings.header_timeout_s, self._headers_late)

    def _begin_piece(self) -> None:
        self._pieces += 1
        self._head_bytes = 0

    def _refuse_head(self) -> None:
        if self._in_head or self._unanswered:
            self._refuse(HeadersTooLargeError(MAX_HEAD_BYTES))
        else:  # trailers of a request that was answered before they came
            self.hang_up()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody here reads."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The headers of a request are complete."""
        self._in_head = False
        method = self.parser.get_method()
        if self.parser.should_upgrade() and method != b"CONNECT":
            version = self.parser.get_http_version().encode()
            lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
            lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
            self._plain_head = b"\r\n".join([*lines, b"", b""])
            return
        super().on_headers_complete()
        self._unanswered.append(self.cycle)
        self._connections.idle.pop(self, None)
        self._start_receive_timer(self._settings.body_timeout_s + _GRACE_S, self._body_late)
        uploads = method == b"POST" and self.url.rstrip(b"/") == UPLOAD_PATH.encode()
        self._uploaded = 0 if uploads else None
        self._head_end = self.loop.time()

    def on_body(self, body: bytes) -> None:
        """Some bytes of a body, which extend the time of an upload."""
        super().on_body(body)
        self._begin_piece()
        if self._uploaded is not None and self._receive_timer is not None:
            self._uploaded += len(body)
            seconds = self._settings.upload_timeout_s(self._uploaded) + _GRACE_S
            left = self._head_end + seconds - self.loop.time()
            self._start_receive_timer(left, self._body_late)

    def on_message_complete(self) -> None:
        """The body of a request is complete."""
        if self._plain_head:
            return
        self._stop_receive_timer()
        super().on_message_complete()

    def _start_receive_timer(self, seconds: float, late: Callable[[], None]) -> None:
        self._stop_receive_timer()
        self._receive_timer = self.loop.call_later(seconds, late)

    def _stop_receive_timer(self) -> None:
        if self._receive_timer is not None:
            self._receive_timer.cancel()
            self._receive_timer = None

    def _headers_late(self) -> None:
        if self in self._connections.idle:
            self._refuse(HeaderTimeoutError(self._settings.header_timeout_s))
        else:  # the request before it is still being answered
            self._start_receive_timer(self._settings.header_timeout_s, self._headers_late)

    def _body_late(self) -> None:
        if self.pipeline:  # it is not read until the request before it is answered
            self._start_receive_timer(self._settings.body_timeout_s, self._body_late)
        else:
            self.hang_up()

    def _wait_for_request(self) -> None:
        """Mark the connection as idle, and close it if no request arrives in time."""
        self._connections.idle[self] = None
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _refuse(self, error: QuintetError) -> None:
        """Answer with the error body, and hang up a moment later: a connection that is closed
        before all is read is reset, and the caller may not see the answer."""
        seconds, address = self.loop.time() - self._start, self.client and self.client[0]
        answer = refusal(error, address, seconds, self._connections.metrics)
        self._refused = True
        self._connections.idle.pop(self, None)
        self._start_receive_timer(_GRACE_S, self.hang_up)
        self._cancel_requests()
        if self._unanswered and self._unanswered[0].response_started:
            self.hang_up()  # what follows would be read as a part of that answer
            return
        self.transport.write(answer)
        self.transport.write_eof()

    def on_response_complete(self) -> None:
        """An answer is written to the connection; watch that it is read."""
        self._unanswered.popleft()
        self._writing = True
        # uvloop writes at the end of this iteration, and in the next one says that it failed.
        self.loop.call_soon(self.loop.call_soon, self._written)
        super().on_response_complete()
        self._watch_sending()
        if not self.pipeline and not self.transport.is_closing():
            self._connections.idle[self] = None

    def _written(self) -> None:
        self._writing = False

    def pause_writing(self) -> None:
        """The connection has enough to send; watch that it is read."""
        super().pause_writing()
        self._unread = True
        self._connections.unread.add(self.transport)
        self._watch_sending()

    def resume_writing(self) -> None:
        """Most of what was written is read."""
        super().resume_writing()
        self._unread = False
        self._connections.unread.discard(self.transport)

    def shutdown(self) -> None:
        """The port is closed: answer the requests, or a first one that comes now, and hang up."""
        if self._pieces:
            super().shutdown()
        else:
            self._start_receive_timer(_GRACE_S, self.hang_up)
        self._watch_sending()

    def timeout_keep_alive_handler(self) -> None:
        """No request has arrived in time."""
        self.hang_up()

    def _watch_sending(self) -> None:
        """Compare what is unsent twice in `send_timeout_s`."""
        if self._send_timer is not None:
            self._send_timer.cancel()
        unsent, wait = self.transport.get_write_buffer_size(), self._settings.send_timeout_s / 2
        self._send_timer = self.loop.call_later(wait, self._check_sending, unsent)

    def _check_sending(self, before: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if 0 < before <= unsent:
            log.warning("a caller does not read its answer: %d bytes of it are dropped", unsent)
            self._unread = True
            self.transport.abort()
        elif unsent:
            self._watch_sending()
