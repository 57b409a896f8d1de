"""Worker: the process that owns one device. The one door to torch, by loading.py.

    python -m app.engine.worker FD      # FD: a connected socket; the first word is Start

Promises:
1. Each job that arrives is answered exactly once, with all its vectors or with a failure, unless
   it is cancelled.
2. The busy device is the batching window: what gathers while a batch runs is the next batch, and
   that one's tensors are ready before the running one ends. No timer, no sleep, no polling.
3. Jobs take turns by rows (schedule.py).
4. The rows of a cancelled job that do not run yet never run, prepared ones included.
5. A batch that fails is tried again in halves, so that a poisonous row fails alone; so does one
   whose vectors are not finite.
6. When the first HTTP process ends its stream, what has arrived is answered first, then the worker
   exits with 0; for an HTTP process that is gone altogether nothing more is computed. Signals to
   the process group are left to the HTTP process.

A thread for each verb: `receive` words (one for each HTTP process), `prepare` the next batch,
`compute` it (the main thread, as CUDA likes it), `reply`. What they share is the Board, and nothing
else; a further one waits for further HTTP processes.
"""

import contextlib
import itertools
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.engine import messages
from app.engine.board import Board, NextBatch, Prepared
from app.engine.loading import load
from app.telemetry.logs import configure_logging
from model.config import CheckpointError
from model.rows import Row, Vectors

if TYPE_CHECKING:
    from model.embedder import Embedder
    from model.packing import PackedBatch

log = logging.getLogger("quintet.worker")

# The link to the HTTP process that has started the worker.
FIRST = 0


@dataclass(frozen=True, slots=True)
class Computed:
    """What became of a batch: the vectors of each row, or why it fails; the time in seconds."""

    batch: NextBatch
    outcomes: list[Vectors | str]
    seconds: float


class Worker:
    """The threads around a board."""

    def __init__(
        self, embedder: "Embedder", connection: socket.socket, started: messages.Started
    ) -> None:
        """`connection` leads to the HTTP process that has started this one."""
        self._embedder = embedder
        self._started = started
        self._links = {FIRST: connection}
        width = embedder.config.hidden_size
        self._board: Board[PackedBatch | None] = Board(width, started.max_batch_tokens)
        self._computed: queue.SimpleQueue[Computed | None] = queue.SimpleQueue()

    def run(self, listener: socket.socket | None = None) -> None:
        """Work until the first HTTP process ends its stream and everything is answered.

        Further HTTP processes may connect to `listener`.
        """
        if listener is not None:
            threading.Thread(target=self.accept, args=(listener,), daemon=True).start()
        self._links[FIRST].sendall(messages.frame(self._started))
        threads = [
            threading.Thread(target=verb, args=arguments, name=verb.__name__, daemon=True)
            for verb, *arguments in ((self.receive, FIRST), (self.prepare,), (self.reply,))
        ]
        for thread in threads:
            thread.start()
        self.compute()
        for thread in threads:
            thread.join()

    def accept(self, listener: socket.socket) -> None:
        """Let further HTTP processes in."""
        for link in itertools.count(FIRST + 1):
            connection, _ = listener.accept()
            try:
                connection.sendall(messages.frame(self._started))
            except OSError:
                log.warning("an HTTP process was gone before it was let in")
                continue
            self._links[link] = connection
            threading.Thread(target=self.receive, args=(link,), daemon=True).start()

    def receive(self, link: int) -> None:
        """Take words off the wire."""
        connection = self._links[link]
        while (message := messages.read_to_worker(connection)) is not None:
            if isinstance(message, messages.Embed):
                self._board.add((link, message.job), messages.rows_of(message))
            elif isinstance(message, messages.Cancel):
                self._board.cancel((link, message.job))
        if link == FIRST:
            self._board.end()
        else:
            self._forget(link)

    def prepare(self) -> None:
        """Keep the next batch ready."""
        while (batch := self._board.plan()) is not None:
            self._board.offer(Prepared(batch, self._packed(batch.rows)))

    def _packed(self, rows: list[Row]) -> "PackedBatch | None":
        """The tensors of a batch, or None where that fails: its turn is the time to see why."""
        try:
            return self._embedder.pack(rows)
        except Exception as error:  # noqa: BLE001  (raised again in its turn, if it is not survived)
            log.warning("a batch of %d rows is not prepared: %s", len(rows), error)
            return None

    def compute(self) -> None:
        """Run one batch after the other."""
        while (prepared := self._board.take()) is not None:
            started = time.perf_counter()
            outcomes = self._outcomes(prepared.next.rows, prepared.packed)
            seconds = time.perf_counter() - started
            self._computed.put(Computed(prepared.next, outcomes, seconds))
        self._computed.put(None)

    def _outcomes(self, rows: list[Row], packed: "PackedBatch | None") -> list[Vectors | str]:
        try:
            batch = packed or self._embedder.pack(rows)
            vectors = self._embedder.forward(batch).cpu().numpy()
        except Exception as error:
            if not self._embedder.survives(error):
                raise
            if len(rows) == 1:
                log.exception("a row of %d tokens fails alone", len(rows[0]))
            else:
                why = str(error)  # and not the error, which a log may keep
                log.warning("a batch of %d rows fails (%s); trying its halves", len(rows), why)
        else:
            counts = [len(row.spans) for row in rows]
            parts = np.split(vectors, np.cumsum(counts)[:-1])
            return [_finite(row, own) for row, own in zip(rows, parts, strict=True)]
        # Out here, since inside the error still holds the tensors of the pass that failed.
        self._embedder.free_memory()
        if len(rows) == 1:
            return [f"the model failed on a text of {len(rows[0])} tokens."]
        middle = len(rows) // 2
        halves = rows[:middle], rows[middle:]
        return [outcome for half in halves for outcome in self._outcomes(half, None)]

    def reply(self) -> None:
        """Answer the jobs that a batch has finished."""
        while (computed := self._computed.get()) is not None:
            plan = computed.batch.plan
            jobs = len({job for job, _ in plan.picks})
            done = messages.BatchDone(len(plan.picks), plan.tokens, jobs, computed.seconds)
            for link in list(self._links):
                self._say(link, done)
            for settled in self._board.settle(plan, computed.outcomes):
                (link, number), outcome = settled.job, settled.outcome
                if isinstance(outcome, str):
                    self._say(link, messages.Failed(number, outcome))
                else:
                    self._say(link, messages.answer_message(number, outcome, settled.queued_s))

    def _say(self, link: int, word: messages.FromWorker) -> None:
        connection = self._links.get(link)
        if connection is None:
            return
        try:
            connection.sendall(messages.frame(word))
        except OSError:
            log.warning("an HTTP process is gone; what it asked for is dropped")
            self._forget(link)

    def _forget(self, link: int) -> None:
        """That HTTP process is gone. Without the first one there is nothing left to do."""
        self._links.pop(link, None)
        self._board.abandon(link)
        if link == FIRST:
            self._board.end()


def _finite(row: Row, vectors: Vectors) -> Vectors | str:
    """A row's vectors, or why it has none: a broken weight, or float16 that overflows."""
    if np.isfinite(vectors).all():
        return vectors
    log.error("a row of %d tokens has numbers that are not finite", len(row))
    return f"the model's numbers for a text of {len(row)} tokens are not finite."


def end_process(failure: threading.ExceptHookArgs) -> None:
    """A thread that fails takes the process with it: half a worker would hang its jobs."""
    trace = failure.exc_value and (failure.exc_type, failure.exc_value, failure.exc_traceback)
    log.critical("the thread %s failed", failure.thread and failure.thread.name, exc_info=trace)
    os._exit(1)


def main() -> None:
    """Load the model that Start names, say so, and work."""
    threading.excepthook = end_process
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    connection = socket.socket(fileno=int(sys.argv[1]))
    start = messages.read_to_worker(connection)
    if not isinstance(start, messages.Start):
        return
    configure_logging(start.log_format)
    try:
        loaded, started = load(start)
    except (CheckpointError, ImportError, MemoryError, OSError, RuntimeError) as error:
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(messages.frame(messages.StartFailed(str(error) or repr(error))))
        return
    listener = None if start.listen is None else _listener(Path(start.listen))
    with contextlib.suppress(BrokenPipeError):  # the HTTP process ended meanwhile
        Worker(loaded, connection, started).run(listener)


def _listener(path: Path) -> socket.socket | None:
    """Where further HTTP processes connect; None if the folder that they share was removed."""
    path.unlink(missing_ok=True)  # of a worker that died
    try:
        return socket.create_server(str(path), family=socket.AF_UNIX)
    except OSError as error:
        log.error("only one HTTP process can use this worker, %s: %s", path, error)  # noqa: TRY400
        return None


if __name__ == "__main__":
    main()
