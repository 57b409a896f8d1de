"""Frames on a stream socket: a message's length, 4 bytes little-endian, then its bytes."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator

LENGTH = struct.Struct("<I")
# What one call takes of a socket at most: some hundred short jobs.
_CHUNK_BYTES = 1 << 16


def frame(encoded: bytes) -> bytes:
    """An encoded message with its length before it."""
    return LENGTH.pack(len(encoded)) + encoded


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next message, or None when the stream has ended, also in the middle of a message."""
    try:
        (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def receive_frames(connection: socket.socket) -> Iterator[list[memoryview]]:
    """All messages of a blocking socket, those together that have arrived together, until its
    stream has ended, also in the middle of a message."""
    rest = b""
    while chunk := _receive(connection):
        frames, rest = split(rest + chunk)
        if frames:
            yield frames
        if len(rest) >= LENGTH.size:  # a long message has begun
            (length,), begun = LENGTH.unpack_from(rest), rest[LENGTH.size :]
            end = receive_exactly(connection, length - len(begun))
            if end is None:
                return
            yield [memoryview(begun + end)]
            rest = b""


async def read_frames(reader: asyncio.StreamReader) -> AsyncIterator[list[memoryview]]:
    """The same from a stream."""
    rest = b""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while chunk := await reader.read(_CHUNK_BYTES):
            frames, rest = split(rest + chunk)
            if frames:
                yield frames
            if len(rest) >= LENGTH.size:  # a long message has begun
                (length,), begun = LENGTH.unpack_from(rest), rest[LENGTH.size :]
                yield [memoryview(begun + await reader.readexactly(length - len(begun)))]
                rest = b""


def split(received: bytes) -> tuple[list[memoryview], bytes]:
    """The whole messages in what has been received, and what is left."""
    frames, start, view = [], LENGTH.size, memoryview(received)
    while start <= len(received):
        stop = start + LENGTH.unpack_from(received, start - LENGTH.size)[0]
        if stop > len(received):
            break
        frames.append(view[start:stop])
        start = stop + LENGTH.size
    return frames, received[start - LENGTH.size :]


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_CHUNK_BYTES)
    except ConnectionError:
        return b""


def receive_exactly(connection: socket.socket, size: int) -> bytearray | None:
    """That many bytes from a blocking socket, or None if the stream ends before."""
    buffer = bytearray(size)
    view, received = memoryview(buffer), 0
    while received < size:
        try:
            count = connection.recv_into(view[received:])
        except ConnectionError:
            return None
        if count == 0:
            return None
        received += count
    return buffer
