"""Worker: the process that computes on one device. Only workers import torch, in loading.py.

    python -m app.engine.worker FD      # FD: the control socket; its first message is StartWorker

It keeps promises 2 and 10 of README.md. Its threads: the main one computes, as CUDA wants it;
`follow` takes links to HTTP processes, `prepare` the next batch's tensors, `reply` finished jobs;
each link has two of its own (http_links.py), and BatchRunner may have one. They share the Board and
the HttpLinks, each behind a lock, and a queue of computed batches. Signals are ignored: they are
for the parent.
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
from collections import defaultdict
from typing import TYPE_CHECKING

from app.engine import messages
from app.engine.batch_runner import BatchRunner, ComputedBatch, not_finite
from app.engine.board import Board
from app.engine.control import AddLink, ControlSocket, StartFailed, StartWorker
from app.engine.http_links import HttpLinks
from app.engine.lane import FLEX_SHARE
from app.engine.loading import load
from app.engine.next_batch import PreparedBatch
from app.telemetry.logs import configure_logging
from model.config import CheckpointError
from model.memory import exempt_loaded_objects
from model.rows import Row

if TYPE_CHECKING:
    from model.embedder import Embedder
    from model.packing import PackedBatch

log = logging.getLogger("quintet.worker")

# Seconds to wait at exit for an HTTP process that does not read.
_LAST_RESULTS_S = 10.0
# Seconds to finish what it holds when the parent was killed.
_LAST_BATCHES_S = 60.0


class Worker:
    """The threads of a worker: they receive links, prepare, compute and reply."""

    def __init__(
        self, embedder: "Embedder", max_batch_tokens: int, flex_share: float = FLEX_SHARE
    ) -> None:
        self._embedder = embedder
        self._board: Board[PackedBatch] = Board(max_batch_tokens, flex_share)
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
            began = time.thread_time()
            packed = self._packed(batch.rows)
            self._board.offer(PreparedBatch(batch, packed, time.thread_time() - began))

    def _packed(self, rows: list[Row]) -> "PackedBatch | None":
        """The tensors of a batch. None where that fails: it is packed again when it runs, and the
        error is handled there."""
        try:
            return self._embedder.pack(rows)
        except Exception as error:  # noqa: BLE001  (see above)
            log.warning("a batch of %d rows is not prepared: %s", len(rows), error)
            return None

    def compute(self) -> None:
        """Launch one batch after the other, and hand on those that an asynchronous device is done
        with, or answer them where it has nothing else to do."""
        runner = BatchRunner(self._embedder, self._board.wake)
        while (prepared := self._board.take(runner.running)) is not None or runner.running:
            if prepared is not None:
                runner.launch(prepared, alone=not self._board.waits)
            for computed in runner.done():
                if self._embedder.asynchronous and self._board.waits:
                    self._computed.put(computed)
                else:
                    self._answer(computed)
        self._computed.put(None)

    def reply(self) -> None:
        """Answer what batches have finished while an asynchronous device has the next one."""
        while (computed := self._computed.get()) is not None:
            self._answer(computed)

    def _answer(self, computed: ComputedBatch) -> None:
        batch, plan = computed.batch, computed.batch.plan
        failed = computed.failed
        if not computed.all_finite:
            failed |= not_finite(batch, computed.vectors)
        answers: defaultdict[int, list[messages.FromWorker]] = defaultdict(list)
        gather_s = 0.0 if self._embedder.asynchronous else computed.seconds
        for finished in self._board.finish(batch, computed.vectors, failed, gather_s):
            link, number = finished.job
            answers[link].append(
                messages.JobFailed(number, finished.outcome)
                if isinstance(finished.outcome, str)
                else messages.result_message(number, finished.outcome, finished.queued_s)
            )
        rows, jobs, seconds = len(batch.rows), len(plan.shares), computed.seconds
        done = messages.BatchDone(rows, plan.tokens, jobs, seconds, plan.flex_tokens)
        self._links.send(done, answers)


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
            exempt_loaded_objects()
            control.send(started)
            Worker(embedder, started.max_batch_tokens, start.flex_share).run(control)


if __name__ == "__main__":
    main()
