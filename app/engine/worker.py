"""Worker: the process that computes on one device. Only workers import torch, in loading.py.

    python -m app.engine.worker FD      # FD: the control socket; its first message is StartWorker

It keeps promises 2, 7 and 10 of README.md. Its threads: the main one computes, as CUDA wants
it; `follow` takes links to HTTP processes, `prepare` the next batch's tensors, `reply` finished
jobs; each link has two of its own (http_links.py). They share the Board and the HttpLinks, each
behind a lock, and a queue of computed batches. Signals are ignored: they are for the parent.
"""

import contextlib
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.engine import messages
from app.engine.board import Board, NextBatch, PreparedBatch
from app.engine.control import AddLink, ControlSocket, StartFailed, StartWorker
from app.engine.http_links import HttpLinks
from app.engine.loading import load
from app.telemetry.logs import configure_logging
from model.config import CheckpointError
from model.rows import Row, Vectors

if TYPE_CHECKING:
    from model.embedder import Embedder
    from model.packing import PackedBatch

log = logging.getLogger("quintet.worker")

# Seconds to wait at exit for an HTTP process that does not read.
_LAST_RESULTS_S = 10.0
# Seconds to finish what it holds when the parent was killed.
_LAST_BATCHES_S = 60.0


@dataclass(frozen=True, slots=True)
class ComputedBatch:
    """What became of a batch: the vectors of each row, or why it fails; the time in seconds."""

    batch: NextBatch
    outcomes: list[Vectors | str]
    seconds: float


class Worker:
    """The threads of a worker: they receive links, prepare, compute and reply."""

    def __init__(self, embedder: "Embedder", max_batch_tokens: int) -> None:
        self._embedder = embedder
        width = embedder.config.hidden_size
        self._board: Board[PackedBatch | None] = Board(width, max_batch_tokens)
        self._links = HttpLinks(self._board)
        self._computed: queue.SimpleQueue[ComputedBatch | None] = queue.SimpleQueue()
        self._exit_timer = threading.Timer(_LAST_BATCHES_S, os._exit, (1,))
        self._exit_timer.daemon = True

    def run(self, control: ControlSocket) -> None:
        """Work until the parent says Finish or has gone, and everything is answered."""
        threads = [
            threading.Thread(target=target, args=arguments, name=target.__name__, daemon=True)
            for target, *arguments in ((self.follow, control), (self.prepare,), (self.reply,))
        ]
        for thread in threads:
            thread.start()
        self.compute()
        for thread in threads:
            thread.join()
        self._exit_timer.cancel()
        self._links.close(_LAST_RESULTS_S)

    def follow(self, control: ControlSocket) -> None:
        """Take links to HTTP processes, until there will be none."""
        while (received := control.receive()) and isinstance(received[0], AddLink):
            self._links.add(socket.socket(fileno=received[1][0]))
        if received is None:  # the parent was killed: nobody is left to end a worker that hangs
            self._exit_timer.start()
        self._board.end()

    def prepare(self) -> None:
        """Keep the next batch ready."""
        while (batch := self._board.plan()) is not None:
            self._board.offer(PreparedBatch(batch, self._packed(batch.rows)))

    def _packed(self, rows: list[Row]) -> "PackedBatch | None":
        """The tensors of a batch. None where that fails: it is packed again when it runs, and the
        error is handled there."""
        try:
            return self._embedder.pack(rows)
        except Exception as error:  # noqa: BLE001  (see above)
            log.warning("a batch of %d rows is not prepared: %s", len(rows), error)
            return None

    def compute(self) -> None:
        """Run one batch after the other."""
        while (prepared := self._board.take()) is not None:
            started = time.perf_counter()
            outcomes = self._outcomes(prepared.next.rows, prepared.packed)
            seconds = time.perf_counter() - started
            self._computed.put(ComputedBatch(prepared.next, outcomes, seconds))
        self._computed.put(None)

    def _outcomes(self, rows: list[Row], packed: "PackedBatch | None") -> list[Vectors | str]:
        try:
            batch = packed or self._embedder.pack(rows)
            vectors = self._embedder.forward(batch).cpu().numpy()
        except Exception as error:
            if not self._embedder.usable_after(error):
                raise
            if len(rows) == 1:
                log.exception("a row of %d tokens fails alone", len(rows[0]))
            else:
                why = str(error)  # and not the error, which a log may keep
                log.warning("a batch of %d rows fails (%s); trying its halves", len(rows), why)
        else:
            counts = [len(row.spans) for row in rows]
            parts = np.split(vectors, np.cumsum(counts)[:-1])
            return [_finite(row, part) for row, part in zip(rows, parts, strict=True)]
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
            self._links.send_batch_done(
                messages.BatchDone(len(plan.picks), plan.tokens, jobs, computed.seconds)
            )
            for finished in self._board.finish_rows(plan, computed.outcomes):
                (link, number), outcome = finished.job, finished.outcome
                if isinstance(outcome, str):
                    self._links.send(link, messages.JobFailed(number, outcome))
                else:
                    result = messages.result_message(number, outcome, finished.queued_s)
                    self._links.send(link, result)


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
    """Load the model that StartWorker names, say so, and work."""
    threading.excepthook = end_process
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = ControlSocket(socket.socket(fileno=int(sys.argv[1])))
    received = control.receive()
    if received is None or not isinstance(start := received[0], StartWorker):
        return
    configure_logging(start.log_format)
    with contextlib.suppress(ConnectionError):  # the parent has ended meanwhile
        try:
            embedder, started = load(start)
        except (CheckpointError, ImportError, MemoryError, OSError, RuntimeError) as error:
            control.send(StartFailed(str(error) or repr(error)))
        else:
            control.send(started)
            Worker(embedder, started.max_batch_tokens).run(control)


if __name__ == "__main__":
    main()
