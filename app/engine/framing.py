"""Frames on a stream socket: a message's length, 4 bytes little-endian, then its bytes."""

import asyncio
import socket
import struct

LENGTH = struct.Struct("<I")


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


def receive_frame(connection: socket.socket) -> bytearray | None:
    """The same from a blocking socket."""
    head = receive_exactly(connection, LENGTH.size)
    return None if head is None else receive_exactly(connection, LENGTH.unpack(head)[0])


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
