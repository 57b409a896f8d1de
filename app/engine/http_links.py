"""A worker's connections to HTTP processes, each with a thread that reads and one that writes.

It keeps promise 8 of README.md: an HTTP process that does not read its results holds back no
others. What waits for it is limited by the queue's limit, since each accepted job has one result
and its tokens count as waiting until the HTTP process has read that.
"""

import contextlib
import itertools
import logging
import queue
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.engine import framing, messages
from app.engine.board import Board
from app.engine.lane import JobId
from model.rows import Row

log = logging.getLogger("quintet.worker")

# With so many messages waiting for an HTTP process, it is not told of further batches.
_MAX_WAITING = 100


class HttpLink:
    """The connection to one HTTP process."""

    def __init__(self, number: int, connection: socket.socket, links: "HttpLinks") -> None:
        self.number = number
        self._connection = connection
        self._links = links
        self._lock = threading.Lock()
        self._unsent = 0
        self._outgoing: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name=f"read {number}", daemon=True)
        self._writer = threading.Thread(target=self._write, name=f"write {number}", daemon=True)

    def start(self) -> None:
        """Begin to take and to send messages."""
        self._writer.start()
        self._reader.start()

    @property
    def waiting(self) -> int:
        """How many pieces wait for the HTTP process to read."""
        return self._unsent

    def send(self, sent: Sequence[messages.FromWorker]) -> None:
        """Send messages in one piece. What the socket does not take now is queued: never waits."""
        rest = memoryview(messages.frames(sent))
        with self._lock:
            if not self._unsent:
                with contextlib.suppress(OSError):  # it takes nothing now, or has gone
                    rest = rest[self._connection.send(rest, socket.MSG_DONTWAIT) :]
            if rest:
                self._unsent += 1
                self._outgoing.put(rest)

    def end(self) -> None:
        """Send what is queued, and nothing after it."""
        self._outgoing.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait until that is sent."""
        self._writer.join(timeout_s)

    def _read(self) -> None:
        board = self._links.board
        for frames in framing.receive_frames(self._connection):
            arrived: dict[bool, list[tuple[JobId, list[Row]]]] = {False: [], True: []}  # by flex
            cancelled = []
            for message in map(messages.decode_to_worker, frames):
                if isinstance(message, messages.Embed):
                    job = ((self.number, message.job), messages.rows_of(message))
                    arrived[message.flex].append(job)
                else:
                    cancelled.append((self.number, message.job))
            for flex, jobs in arrived.items():
                if jobs:
                    board.add(jobs, flex=flex)
            if cancelled:
                board.cancel(cancelled)
        self._links.remove(self)
        self.end()
        self._writer.join()
        with self._lock:  # nothing is being sent: its descriptor may soon be another link's
            self._connection.close()

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while (data := self._outgoing.get()) is not None:
                self._connection.sendall(data)
                with self._lock:
                    self._unsent -= 1
        with contextlib.suppress(OSError):  # the reading thread sees the end, too
            self._connection.shutdown(socket.SHUT_RDWR)


class HttpLinks:
    """The links of one worker to all HTTP processes, behind one lock."""

    def __init__(self, board: Board[Any]) -> None:
        self.board = board
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._links: dict[int, HttpLink] = {}

    def add(self, connection: socket.socket) -> None:
        """Take jobs from a further HTTP process."""
        link = HttpLink(next(self._numbers), connection, self)
        with self._lock:
            self._links[link.number] = link
        link.start()

    def remove(self, link: HttpLink) -> None:
        """The HTTP process has exited: its jobs are dropped."""
        with self._lock:
            self._links.pop(link.number, None)
        self.board.drop_link(link.number)

    def send(
        self, done: messages.BatchDone, answers: Mapping[int, list[messages.FromWorker]]
    ) -> None:
        """Tell each HTTP process that takes its messages of a batch, and send its answers.

        The process that is quickest counts the batch."""
        with self._lock:
            links = sorted(self._links.values(), key=lambda link: link.waiting)
        for place, link in enumerate(links):
            told: list[messages.FromWorker] = []
            if place == 0:
                told = [msgspec.structs.replace(done, counted=True)]
            elif link.waiting < _MAX_WAITING:
                told = [done]
            link.send(told + answers.get(link.number, []))

    def close(self, timeout_s: float) -> None:
        """Send what is queued, but give up on an HTTP process that reads nothing for so long."""
        with self._lock:
            links = list(self._links.values())
        deadline = time.monotonic() + timeout_s
        for link in links:
            link.end()
        for link in links:
            link.join(max(deadline - time.monotonic(), 0))
