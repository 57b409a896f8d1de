"""A name server on loopback that knows one name: to haproxy what Kubernetes and compose have."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_A = 1
_HEADER = struct.Struct(">6H")


class Names:
    """Answers every question for IPv4 addresses with `addresses`, and any other one with none."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._socket.getsockname())

    def serve(self) -> None:
        """Answer until an empty datagram comes."""
        while True:
            asked, asker = self._socket.recvfrom(65535)
            if not asked:
                break
            self._socket.sendto(self._answer(asked), asker)
        self._socket.close()

    def stop(self) -> None:
        """Send the empty datagram."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            host, _, port = self.address.partition(":")
            own.sendto(b"", (host, int(port)))

    def _answer(self, asked: bytes) -> bytes:
        (number, *_) = _HEADER.unpack_from(asked)
        end = asked.index(b"\0", _HEADER.size) + 5  # the name, its end, type and class
        (kind,) = struct.unpack_from(">H", asked, end - 4)
        known = self.addresses if kind == _A else ()
        records = b"".join(
            # the name of the question, type A, class IN, 0 s to live, four bytes
            struct.pack(">HHHIH", 0xC00C, _A, 1, 0, 4) + socket.inet_aton(address)
            for address in known
        )
        header = _HEADER.pack(number, 0x8180, 1, len(known), 0, 0)
        return header + asked[_HEADER.size : end] + records


@contextmanager
def names(*addresses: str) -> Iterator[Names]:
    """A running name server."""
    server = Names(*addresses)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
