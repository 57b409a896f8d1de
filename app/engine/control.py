"""Messages between the parent process and its children, in msgpack, and the socket they go over.

    parent -> worker          StartWorker, then an AddLink for each HTTP process that serves;
                              Finish, or the end of the stream
    worker -> parent          WorkerStarted or StartFailed
    parent -> HTTP process    StartHttpProcess; after ApplicationBuilt a LinkWorker for each worker
                              that is ready, and Serve; later LinkWorker, CountRestart, Drain,
                              Finish; the end of the stream: the parent has gone
    HTTP process -> parent    ApplicationBuilt or StartFailed; WorkerLinked after each LinkWorker

Sockets and open files travel as descriptors beside the message (SCM_RIGHTS). This module needs no
numpy, so that the parent stays small.
"""

import asyncio
import socket
from collections.abc import Sequence
from typing import Literal

import msgspec

from app.engine import framing
from app.engine.lane import FLEX_SHARE
from model.spaces import Fingerprint

# Descriptors of one message: the listening socket and the queue table are the most.
_MAX_DESCRIPTORS = 2


class StartWorker(msgspec.Struct, frozen=True, tag=True):
    """Load this checkpoint. `max_batch_tokens` is None where the worker is to choose by its device;
    `threads` is how many one on a CPU takes, None for one on each core that it may use. `adapters`
    is what Embedder.warm_up takes; `flex_share` is what RowScheduler takes. With `fingerprint` a
    checkpoint of another one is refused."""

    folder: str
    device: str
    dtype: str
    max_batch_tokens: int | None
    log_format: str = "text"
    threads: int | None = None
    adapters: Literal["auto", "merged", "stacked"] = "auto"
    flex_share: float = FLEX_SHARE
    fingerprint: Fingerprint | None = None


class AddLink(msgspec.Struct, frozen=True, tag=True):
    """Take jobs over this socket (1 descriptor), whose other end an HTTP process gets."""


class WorkerStarted(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded. `parameters` counts base and adapters; `seconds` is the loading time;
    `process` is the worker's process id."""

    device: str
    dtype: str
    attention: str
    parameters: int
    max_batch_tokens: int
    seconds: float
    process: int
    fingerprint: Fingerprint


class StartFailed(msgspec.Struct, frozen=True, tag=True):
    """The child cannot do its work; the sentence says why."""

    reason: str


class StartHttpProcess(msgspec.Struct, frozen=True, tag=True):
    """Build the application (2 descriptors: the listening socket and the queue table's file).

    `folder` has the checkpoint; `restarted` says that this process replaces one that has ended.
    With `readers` files of another digest are refused.
    """

    folder: str
    restarted: bool
    readers: str | None = None


class ApplicationBuilt(msgspec.Struct, frozen=True, tag=True):
    """The application is built; no connection is accepted yet. `readers` is the digest of the files
    by which it makes rows of texts."""

    readers: str


class LinkWorker(msgspec.Struct, frozen=True, tag=True):
    """Send jobs to that worker over this socket (1 descriptor), whose other end the worker gets."""

    worker: int
    started: WorkerStarted


class WorkerLinked(msgspec.Struct, frozen=True, tag=True):
    """Requests go to the worker with that process id from now on."""

    process: int


class Serve(msgspec.Struct, frozen=True, tag=True):
    """Accept connections."""


class CountRestart(msgspec.Struct, frozen=True, tag=True):
    """Enter the restart of a worker into the metrics: one HTTP process is told of each."""


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Say that the service is about to end: /ready turns 503, responses close connections."""


class Finish(msgspec.Struct, frozen=True, tag=True):
    """Accept nothing more, answer what is accepted, exit."""


ToChild = (
    StartWorker | AddLink | StartHttpProcess | LinkWorker | Serve | CountRestart | Drain | Finish
)
FromChild = WorkerStarted | StartFailed | ApplicationBuilt | WorkerLinked

_encoder = msgspec.msgpack.Encoder()
_to_child = msgspec.msgpack.Decoder(ToChild)
_from_child = msgspec.msgpack.Decoder(FromChild)


class ControlSocket:
    """One end of the socket between the parent and a child."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, message: ToChild | FromChild, descriptors: Sequence[int] = ()) -> None:
        """Send a message; the receiver gets copies of the descriptors.

        Raises:
            OSError: the other process has gone, or (where this end does not block) takes nothing.
        """
        data = framing.frame(_encoder.encode(message))
        if socket.send_fds(self._connection, [data], descriptors) < len(data):
            raise BlockingIOError("the other process takes no messages")

    def receive(self) -> tuple[ToChild, list[int]] | None:
        """For a child: wait for the next message with its descriptors; None at the stream's end."""
        try:
            head, descriptors, _, _ = socket.recv_fds(
                self._connection, framing.LENGTH.size, _MAX_DESCRIPTORS
            )
        except ConnectionError:
            return None
        rest = framing.receive_exactly(self._connection, framing.LENGTH.size - len(head))
        if not head or rest is None:
            return None
        (length,) = framing.LENGTH.unpack(head + rest)
        body = framing.receive_exactly(self._connection, length)
        return None if body is None else (_to_child.decode(body), descriptors)


async def read_from_child(reader: asyncio.StreamReader) -> FromChild | None:
    """For the parent: the next message of a child; None when its stream has ended."""
    body = await framing.read_frame(reader)
    return None if body is None else _from_child.decode(body)
