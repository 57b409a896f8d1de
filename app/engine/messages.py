"""Messages between HTTP processes and workers, in msgpack: jobs and their results.

    HTTP process -> worker    Embed for each job, Cancel; the end of the stream: it has exited
    worker -> HTTP process    for each Embed one JobResult or JobFailed, except after its Cancel;
                              a BatchDone after each forward pass

Token ids travel as raw int32 and vectors as raw float32, both little-endian, and are never turned
into Python numbers. What the parent says to its children is in control.py.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from app.engine import framing
from model.rows import NO_ADAPTER, Row, Vectors


class Embed(msgspec.Struct, frozen=True, tag=True):
    """A job: R rows of T tokens in all with S spans.

    token_ids (T,), row_tokens (R,), adapters (R,), row_spans (R,), spans (S, 2), all int32;
    an adapter of -1 is none. `flex` is the lane that it waits in.
    """

    job: int
    token_ids: memoryview
    row_tokens: memoryview
    adapters: memoryview
    row_spans: memoryview
    spans: memoryview
    flex: bool = False


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """The caller has gone: the job is not to be answered."""

    job: int


class JobResult(msgspec.Struct, frozen=True, tag=True):
    """All vectors of a job, (S, D) float32, in the order of its spans.

    `queued_s` is the time from its arrival to the start of the batch that had its first row.
    """

    job: int
    vectors: memoryview
    queued_s: float


class JobFailed(msgspec.Struct, frozen=True, tag=True):
    """A row of the job fails even alone."""

    job: int
    reason: str


class BatchDone(msgspec.Struct, frozen=True, tag=True):
    """One forward pass. `jobs` counts the requests whose rows it mixed; `flex_tokens` are those of
    its tokens that flex jobs have.

    Every HTTP process hears of it; the one for which `counted` is true enters it into the metrics.
    """

    rows: int
    tokens: int
    jobs: int
    seconds: float
    flex_tokens: int = 0
    counted: bool = False


ToWorker = Embed | Cancel
FromWorker = JobResult | JobFailed | BatchDone

_encoder = msgspec.msgpack.Encoder()
_to_worker = msgspec.msgpack.Decoder(ToWorker)
_from_worker = msgspec.msgpack.Decoder(FromWorker)


def frame(message: ToWorker | FromWorker) -> bytes:
    """A message as it is sent."""
    return framing.frame(_encoder.encode(message))


def frames(sent: Iterable[FromWorker]) -> bytearray:
    """Messages as they are sent together; vectors are copied once."""
    buffer = bytearray()
    for message in sent:
        start = len(buffer) + framing.LENGTH.size
        buffer += bytes(framing.LENGTH.size)
        _encoder.encode_into(message, buffer, start)
        framing.LENGTH.pack_into(buffer, start - framing.LENGTH.size, len(buffer) - start)
    return buffer


def decode_from_worker(body: memoryview) -> FromWorker:
    """A message of a worker."""
    message: FromWorker = _from_worker.decode(body)
    return message


def decode_to_worker(body: memoryview) -> ToWorker:
    """A message of an HTTP process."""
    message: ToWorker = _to_worker.decode(body)
    return message


def embed_message(job: int, rows: Sequence[Row], *, flex: bool = False) -> Embed:
    """Rows -> the message that carries them."""
    adapters = [NO_ADAPTER if row.adapter is None else row.adapter for row in rows]
    return Embed(
        job,
        _raw(np.concatenate([row.token_ids for row in rows])),
        _raw(np.array([len(row) for row in rows])),
        _raw(np.array(adapters)),
        _raw(np.array([len(row.spans) for row in rows])),
        _raw(np.concatenate([row.spans for row in rows])),
        flex,
    )


def rows_of(message: Embed) -> list[Row]:
    """The message's rows; they are views into it."""
    token_ids, spans = _int32(message.token_ids), _int32(message.spans).reshape(-1, 2)
    token_counts = _int32(message.row_tokens).tolist()
    span_counts = _int32(message.row_spans).tolist()
    rows, token, span = [], 0, 0
    for tokens, index, of_row in zip(
        token_counts, _int32(message.adapters).tolist(), span_counts, strict=True
    ):
        adapter = None if index == NO_ADAPTER else index
        next_token, next_span = token + tokens, span + of_row
        rows.append(Row(token_ids[token:next_token], adapter, spans[span:next_span]))
        token, span = next_token, next_span
    return rows


def vectors_of(message: JobResult, width: int) -> Vectors:
    """The message's vectors: (S, width) float32."""
    return np.frombuffer(message.vectors, dtype="<f4").reshape(-1, width)


def result_message(job: int, vectors: Vectors, queued_s: float) -> JobResult:
    """Vectors -> the message that carries them."""
    return JobResult(job, np.ascontiguousarray(vectors, dtype="<f4").data.cast("B"), queued_s)


def _raw(numbers: npt.NDArray[np.integer]) -> memoryview:
    return np.ascontiguousarray(numbers, dtype="<i4").data.cast("B")


def _int32(raw: memoryview) -> npt.NDArray[np.int32]:
    return np.frombuffer(raw, dtype="<i4")
