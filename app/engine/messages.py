"""Every word that HTTP processes and workers say to each other, and how a word is framed.

A frame is the length of a message, 4 bytes little-endian, and the message in msgpack. Token ids
travel as raw int32 and vectors as raw float32, both little-endian; Python never sees single ones.

    HTTP process -> worker    Start, then Embed and Cancel; the end of the stream means: finish
    worker -> HTTP process    Started or StartFailed, then for each Embed one Answer or Failed,
                              except after its Cancel; a BatchDone after each forward pass
    first HTTP process -> further ones
                              WorkerReady for each worker that listens, Signalled for each signal;
                              the end of the stream means that the first process is gone

A further HTTP process connects to a worker, hears Started, and goes on as the first one does. The
end of its stream means that it is gone.
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
    """Load this checkpoint; None leaves the batch size to the worker, which knows the device.

    `listen` is the path of the socket on which further HTTP processes may connect, `threads` how
    many a CPU's worker takes; None is one for each core that it may use.
    """

    folder: str
    device: str
    dtype: str
    max_batch_tokens: int | None
    log_format: str = "text"
    listen: str | None = None
    threads: int | None = None


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
    """The model is loaded. `parameters` counts base and adapters; `seconds` is the loading time;
    `process` is the worker's id, for whoever must kill it."""

    device: str
    dtype: str
    attention: str
    parameters: int
    max_batch_tokens: int
    seconds: float
    process: int


class StartFailed(msgspec.Struct, frozen=True, tag=True):
    """The model cannot be loaded; the sentence says why."""

    reason: str


class Answer(msgspec.Struct, frozen=True, tag=True):
    """All vectors of a job, (S, D) float32, in the order of its spans.

    `queued_s` is the time from its arrival to the start of the batch that had its first row.
    """

    job: int
    vectors: memoryview
    queued_s: float


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


class WorkerReady(msgspec.Struct, frozen=True, tag=True):
    """The worker of that number listens on that path."""

    worker: int
    path: str


class Signalled(msgspec.Struct, frozen=True, tag=True):
    """The first HTTP process has got that signal, which is meant for all of them."""

    number: int


ToWorker = Start | Embed | Cancel
FromWorker = Started | StartFailed | Answer | Failed | BatchDone
ToHttpProcess = WorkerReady | Signalled

_encoder = msgspec.msgpack.Encoder()
_to_worker = msgspec.msgpack.Decoder(ToWorker)
_from_worker = msgspec.msgpack.Decoder(FromWorker)
_to_http_process = msgspec.msgpack.Decoder(ToHttpProcess)


def frame(message: ToWorker | FromWorker | ToHttpProcess) -> bytes:
    """A message as it goes over the wire."""
    encoded = _encoder.encode(message)
    return _LENGTH.pack(len(encoded)) + encoded


async def read_from_worker(reader: asyncio.StreamReader) -> FromWorker | None:
    """The next message of a worker, or None when its stream has ended, whole or broken."""
    body = await _read(reader)
    return None if body is None else _from_worker.decode(body)


async def read_to_http_process(reader: asyncio.StreamReader) -> ToHttpProcess | None:
    """The next message of the first HTTP process, or None when it is gone."""
    body = await _read(reader)
    return None if body is None else _to_http_process.decode(body)


async def _read(reader: asyncio.StreamReader) -> bytes | None:
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


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


def answer_message(job: int, vectors: Vectors, queued_s: float) -> Answer:
    """Vectors -> the message that carries them."""
    return Answer(job, np.ascontiguousarray(vectors, dtype="<f4").data.cast("B"), queued_s)


def _raw(numbers: npt.NDArray[np.integer]) -> memoryview:
    return np.ascontiguousarray(numbers, dtype="<i4").data.cast("B")


def _int32(raw: memoryview) -> npt.NDArray[np.int32]:
    return np.frombuffer(raw, dtype="<i4")
