"""Protocol: uvicorn's HTTP, with a bound on what comes before a body.

httptools gathers headers until they end, or until memory does. A head that ends within one read of
the socket is judged by api/frame.py, whose answer has the one error body.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import HeadersTooLargeError

MAX_HEAD_BYTES = 32_768


class BoundedProtocol(HttpToolsProtocol):
    """Hangs up on a head that goes on past MAX_HEAD_BYTES."""

    _heads = 0  # that have begun
    _head_bytes: int | None = None  # of the one that is being read; None between heads

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._heads += 1
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """It ends."""
        self._head_bytes = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Read on. Of the read in which a head began nothing is counted: it may be a body's."""
        heads = self._heads
        super().data_received(data)
        if self._heads == heads and self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.write(
                    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
                    b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n"
                    + str(HeadersTooLargeError(MAX_HEAD_BYTES)).encode()
                )
                self.transport.close()
