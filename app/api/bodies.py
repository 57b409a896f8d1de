r"""Bodies of requests: read within limits of bytes, seconds and JSON tokens, and repaired as UTF-8.

Promises about memory:
1. The bodies of one process together never have more bytes than the limit, but for the first
   SMALL_BYTES of each: those are bounded by the number of connections, so that small requests pass
   where large ones have taken all.
2. A body counts as it comes in, and until its request has ended. A Content-Length alone takes
   nothing from others; what cannot fit is refused before it is read.
3. A body has at most MAX_JSON_TOKENS (texts, brackets and commas). Python needs some 70 bytes for
   the smallest list or text, which take 3 and 4 bytes in JSON: 32 MB of them would be 700 MB. A
   million are 70 MB, and thousands of inputs with all their keys are far from it.

`repaired` is for bodies that the JSON parser refuses, so that all others cost nothing. JavaScript
cuts texts between UTF-16's halves, which leaves half a pair: `"\ud83d"` alone, a lone surrogate. It
is no character, and is replaced by U+FFFD, as JavaScript's own TextEncoder does it.
"""

import asyncio
import codecs
import contextlib
import re
from collections.abc import AsyncIterator
from itertools import islice

from starlette.requests import ClientDisconnect, Request

from app.access.budget import Budget
from app.errors import (
    BodiesFullError,
    BodyTimeoutError,
    BodyTooLargeError,
    ClientDisconnectedError,
    EncodedBodyError,
    NotUtf8Error,
    TooManyJsonTokensError,
    UnavailableError,
)
from app.settings import Settings
from app.telemetry.metrics import Metrics

# What the server buffers of each connection anyway.
SMALL_BYTES = 65_536
MAX_JSON_TOKENS = 1_000_000

_SEPARATORS = b'",[{\n'
# A text, as JSON and CSV write them, or a separator. Possessive, and whatever begins a
# text is one, so that no byte is looked at twice.
_JSON_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?|[,\[{\n]', re.DOTALL)
# Half of a pair of escapes without its other half, where no backslash is itself escaped.
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_BACKSLASH = rb"\\"  # as JSON writes one
_MARK = b"\xff\xff"  # bytes that UTF-8 never has


class Bodies:
    """Reads bodies, and counts the bytes that the process holds of all of them together."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.held = 0
        self._max_held = settings.max_bodies_bytes
        self._max_bytes = settings.max_body_bytes
        self._timeout_s = settings.body_timeout_s
        self._metrics = metrics

    @contextlib.asynccontextmanager
    async def read(self, request: Request, budget: Budget) -> AsyncIterator[bytes]:
        """The whole body of a request, which counts as held until the block ends. What the request
        has been charged is given back if there is no room.

        Raises:
            EncodedBodyError: it is compressed.
            BodyTooLargeError, TooManyJsonTokensError: it is longer, or has too many of them.
            BodiesFullError: it does not fit beside those of other requests.
            BodyTimeoutError: it is not there in time.
            ClientDisconnectedError: the caller disconnected on the way.
        """
        with Share(self) as share:
            try:
                body = await self._receive(request, share)
            except UnavailableError:
                await budget.give_back()
                raise
            check_json_tokens(body)
            yield body

    async def _receive(self, request: Request, share: "Share") -> bytes:
        declared = declared_bytes(request)
        if declared is not None:
            if declared > self._max_bytes:
                raise BodyTooLargeError(self._max_bytes, declared)
            share.expect(declared)
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                async for received in request.stream():
                    body += received
                    if len(body) > self._max_bytes:
                        raise BodyTooLargeError(self._max_bytes)
                    share.grow(len(body))
        except TimeoutError:
            raise BodyTimeoutError(self._timeout_s) from None
        except ClientDisconnect:
            raise ClientDisconnectedError("the caller hung up while sending the body.") from None
        return bytes(body)

    def check(self, more: int) -> None:
        """
        Raises:
            BodiesFullError: so many bytes more do not fit.
        """
        if more and self.held + more > self._max_held:
            self._metrics.refused.labels(BodiesFullError.reason).inc()
            raise BodiesFullError(more, self.held, self._max_held)

    def hold(self, more: int) -> None:
        """Count so many bytes more, or fewer."""
        self.held += more
        self._metrics.body_bytes.inc(more)


class Share:
    """The bytes of one request's body that count, until the block ends."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._counted = 0

    def __enter__(self) -> "Share":
        return self

    def __exit__(self, *_: object) -> None:
        self._bodies.hold(-self._counted)

    def expect(self, size: int) -> None:
        """Raise a BodiesFullError if a body of that many bytes does not fit beside the others."""
        self._bodies.check(self._more(size))

    def grow(self, size: int) -> None:
        """Count that many bytes of it, or raise a BodiesFullError."""
        if more := self._more(size):
            self._bodies.check(more)
            self._bodies.hold(more)
            self._counted += more

    def _more(self, size: int) -> int:
        return max(size - SMALL_BYTES - self._counted, 0)


def declared_bytes(request: Request) -> int | None:
    """The Content-Length of a request, if it has one.

    Raises:
        EncodedBodyError: its body is compressed.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        raise EncodedBodyError(encoding)
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdigit() else None


def check_json_tokens(body: bytes) -> None:
    """
    Raises:
        TooManyJsonTokensError: it has more than MAX_JSON_TOKENS, those inside of texts not counted.
    """
    if len(body) - len(body.translate(None, _SEPARATORS)) > MAX_JSON_TOKENS:  # inside of texts, too
        found = islice(_JSON_TOKEN.finditer(body), MAX_JSON_TOKENS + 1)
        if sum(1 for _ in found) > MAX_JSON_TOKENS:
            raise TooManyJsonTokensError(MAX_JSON_TOKENS)


def decoded(body: bytes) -> str:
    """The text of a body, without a byte order mark.

    Raises:
        NotUtf8Error: it is in another encoding.
    """
    if 0 in body[:2]:  # UTF-16 and UTF-32 of ASCII, which would be UTF-8 with many zeros
        raise NotUtf8Error(body, body.index(0))
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        marked = len(codecs.BOM_UTF8) if body.startswith(codecs.BOM_UTF8) else 0
        raise NotUtf8Error(body, error.start + marked) from None


def repaired(body: bytes) -> tuple[bytes, int]:
    r"""A body of JSON without a byte order mark and with \ufffd for each lone surrogate, and how
    many there were.

    Raises:
        NotUtf8Error: it is in another encoding.
    """
    decoded(body)
    marked = body.removeprefix(codecs.BOM_UTF8).replace(_BACKSLASH, _MARK)
    clean, count = _LONE_SURROGATE.subn(rb"\\ufffd", marked)
    return clean.replace(_MARK, _BACKSLASH), count
