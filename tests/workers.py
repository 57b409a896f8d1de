"""A real worker, spoken to as the parent and as HTTP processes speak to it: a process, or the
threads of one in this process, around an embedder of the test."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

import msgspec

from app.engine import framing, messages
from app.engine.control import AddLink, ControlSocket, FromChild, StartWorker
from app.engine.worker import Worker
from model.embedder import Embedder
from model.rows import Row

WORKER = ("app.engine.worker",)
_TIMEOUT_S = 60
_from_child = msgspec.msgpack.Decoder(FromChild)
_from_worker = msgspec.msgpack.Decoder(messages.FromWorker)


def receive_frame(connection: socket.socket) -> bytearray | None:
    """The next message of a blocking socket, or None when its stream has ended."""
    head = framing.receive_exactly(connection, framing.LENGTH.size)
    return head and framing.receive_exactly(connection, framing.LENGTH.unpack(head)[0])


def receive_from_worker(connection: socket.socket) -> messages.FromWorker | None:
    """The next message of a worker, or None when its stream has ended."""
    body = receive_frame(connection)
    return None if body is None else _from_worker.decode(body)


class Link:
    """An HTTP process' end of a connection to the worker."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(_TIMEOUT_S)

    def send(self, message: messages.ToWorker) -> None:
        self.socket.sendall(messages.frame(message))

    def embed(self, job: int, rows: Sequence[Row]) -> None:
        self.send(messages.embed_message(job, rows))

    def receive(self) -> messages.FromWorker | None:
        return receive_from_worker(self.socket)

    def receive_until(self, kind: type, job: int | None = None) -> list[messages.FromWorker]:
        """All messages up to the first of that kind, for that job."""
        received = []
        while True:
            message = self.receive()
            assert message is not None, "the worker has gone"
            received.append(message)
            if isinstance(message, kind) and (job is None or message.job == job):
                return received

    def receive_results(self, jobs: int) -> list[messages.FromWorker]:
        """All messages until so many jobs are answered."""
        received, answered = [], 0
        while answered < jobs:
            message = self.receive()
            assert message is not None, "the worker has gone"
            received.append(message)
            answered += not isinstance(message, messages.BatchDone)
        return received

    def close(self) -> None:
        self.socket.close()


class _Parent:
    """The parent's side of a worker."""

    def __init__(self) -> None:
        self.socket, self._theirs = socket.socketpair()
        self.socket.settimeout(_TIMEOUT_S)
        self._links: list[Link] = []
        self.control = ControlSocket(self.socket)

    def link(self) -> Link:
        """A connection for one HTTP process more."""
        link = Link(self.connection())
        self._links.append(link)
        return link

    def connection(self) -> socket.socket:
        """The same as a socket."""
        ours, theirs = socket.socketpair()
        with theirs:
            self.control.send(AddLink(), [theirs.fileno()])
        return ours

    def finish(self) -> list[messages.FromWorker]:
        """The parent goes; what the links still carry. The worker must end well."""
        self.socket.close()
        open_links = [link for link in self._links if link.socket.fileno() != -1]
        rest = [message for link in open_links for message in iter(link.receive, None)]
        self._wait()
        return rest

    def _wait(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Leave nothing of it behind."""
        for link in self._links:
            link.close()
        self.socket.close()


class WorkerProcess(_Parent):
    """A worker as it is served with."""

    def __init__(
        self,
        start: StartWorker,
        command: Sequence[str] = WORKER,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        super().__init__()
        module, *arguments = command
        with self._theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments, str(self._theirs.fileno())],
                pass_fds=[self._theirs.fileno()],
                env=dict(environment),
            )
        self.control.send(start)
        self.started = self.receive()

    def receive(self) -> FromChild | None:
        body = receive_frame(self.socket)
        return None if body is None else _from_child.decode(body)

    def _wait(self) -> None:
        assert self.process.wait(_TIMEOUT_S) == 0

    def close(self) -> None:
        super().close()
        self.process.kill()
        self.process.wait()


class WorkerThreads(_Parent):
    """A worker in this process, around an embedder of the test."""

    def __init__(self, embedder: Embedder, max_batch_tokens: int) -> None:
        super().__init__()
        worker = Worker(embedder, max_batch_tokens)
        control = ControlSocket(self._theirs)
        self._thread = threading.Thread(target=worker.run, args=(control,), daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        self._thread.join(_TIMEOUT_S)
        assert not self._thread.is_alive()

    def close(self) -> None:
        super().close()
        self._wait()
        self._theirs.close()
