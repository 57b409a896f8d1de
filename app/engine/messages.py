"""Every word that the HTTP process and a worker say to each other, and how a word is framed.

A frame is the length of a message, 4 bytes little-endian, and the message in msgpack. Token ids
travel as raw int32 and vectors as raw float32, both little-endian; Python never sees single ones.

    HTTP process -> worker    Start, then Embed and Cancel; the end of the stream means: finish
    worker -> HTTP process    Started or StartFailed, then for each Embed one Answer or Failed,
                              except after its Cancel; a BatchDone after each forward pass
"""

import asyncio
import socket
import struct
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from model.rows import Row, Vectors

_LENGTH = struct.Struct("<I")
_NO_ADAPTER = -1


class Start(msgspec.Struct, frozen=True, tag=True):
    """Load this checkpoint; None leaves the batch size to the worker, which knows the device."""

    folder: str
    device: str
    dtype: str
    max_batch_tokens: int | None
    log_format: str = "text"


class Embed(msgspec.Struct, frozen=True, tag=True):
    """A job: R rows of T tokens in all with S spans.

    token_ids (T,), row_tokens (R,), adapters (R,), row_spans (R,), spans (S, 2), all int32;
    an adapter of -1 is none.
    """

    job: int
    token_ids: memoryview
    row_tokens: memoryview
    adapters: memoryview
    row_spans: memoryview
    spans: memoryview


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Nobody waits for this job any more."""

    job: int


class Started(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded. `parameters` counts base and adapters; `seconds` is the loading time."""

    device: str
    dtype: str
    attention: str
    parameters: int
    max_batch_tokens: int
    seconds: float


class StartFailed(msgspec.Struct, frozen=True, tag=True):
    """The model cannot be loaded; the sentence says why."""

    reason: str


class Answer(msgspec.Struct, frozen=True, tag=True):
    """All vectors of a job, (S, D) float32, in the order of its spans."""

    job: int
    vectors: memoryview


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A row of the job fails even alone."""

    job: int
    reason: str


class BatchDone(msgspec.Struct, frozen=True, tag=True):
    """One forward pass. `jobs` counts the requests whose rows it mixed."""

    rows: int
    tokens: int
    jobs: int
    seconds: float


ToWorker = Start | Embed | Cancel
FromWorker = Started | StartFailed | Answer | Failed | BatchDone

_encoder = msgspec.msgpack.Encoder()
_to_worker = msgspec.msgpack.Decoder(ToWorker)
_from_worker = msgspec.msgpack.Decoder(FromWorker)


def frame(message: ToWorker | FromWorker) -> bytes:
    """A message as it goes over the wire."""
    encoded = _encoder.encode(message)
    return _LENGTH.pack(len(encoded)) + encoded


async def read_from_worker(reader: asyncio.StreamReader) -> FromWorker | None:
    """The next message of a worker, or None when its stream has ended, whole or broken."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        message: FromWorker = _from_worker.decode(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return message


def read_to_worker(connection: socket.socket) -> ToWorker | None:
    """The next message for this worker, or None when the HTTP process has gone or is finished."""
    head = _receive(connection, _LENGTH.size)
    if head is None:
        return None
    body = _receive(connection, _LENGTH.unpack(head)[0])
    return None if body is None else _to_worker.decode(body)


def _receive(connection: socket.socket, size: int) -> bytearray | None:
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


def embed_message(job: int, rows: Sequence[Row]) -> Embed:
    """Rows -> the message that carries them."""
    adapters = [_NO_ADAPTER if row.adapter is None else row.adapter for row in rows]
    return Embed(
        job,
        _raw(np.concatenate([row.token_ids for row in rows])),
        _raw(np.array([len(row) for row in rows])),
        _raw(np.array(adapters)),
        _raw(np.array([len(row.spans) for row in rows])),
        _raw(np.concatenate([row.spans for row in rows])),
    )


def rows_of(message: Embed) -> list[Row]:
    """The message's rows; they are views into it."""
    token_ids = np.split(_int32(message.token_ids), np.cumsum(_int32(message.row_tokens))[:-1])
    all_spans = _int32(message.spans).reshape(-1, 2)
    spans = np.split(all_spans, np.cumsum(_int32(message.row_spans))[:-1])
    adapters = [
        None if index == _NO_ADAPTER else index for index in _int32(message.adapters).tolist()
    ]
    return [Row(*parts) for parts in zip(token_ids, adapters, spans, strict=True)]


def vectors_of(message: Answer, width: int) -> Vectors:
    """The message's vectors: (S, width) float32."""
    return np.frombuffer(message.vectors, dtype="<f4").reshape(-1, width)


def answer_message(job: int, vectors: Vectors) -> Answer:
    """Vectors -> the message that carries them."""
    return Answer(job, np.ascontiguousarray(vectors, dtype="<f4").data.cast("B"))


def _raw(numbers: npt.NDArray[np.integer]) -> memoryview:
    return np.ascontiguousarray(numbers, dtype="<i4").data.cast("B")


def _int32(raw: memoryview) -> npt.NDArray[np.int32]:
    return np.frombuffer(raw, dtype="<i4")
