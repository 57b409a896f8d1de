"""Load generators in processes of their own.

    with generators(4) as fleet:
        seen = fleet.run(Load(url, Prepared(wires), connections=64, seconds=5))

A process that is interrupted or left by this one ends.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection, wait

from app.tools.load import Load, Seen


class Fleet:
    """Running generators."""

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes
        self._running: list[Connection] = []

    def begin(self, load: Load) -> None:
        """Spread the connections over the processes, each of which has a request to send."""
        busy = min(load.connections, len(self._pipes), load.most or load.connections)
        self._running = self._pipes[:busy]
        for first, pipe in enumerate(self._running):
            part = len(range(first, load.connections, busy))
            most = load.most and len(range(first, load.most, busy))
            pipe.send(replace(load, connections=part, most=most, first=first, step=busy))

    def finish(self, report: Callable[[int], None] = lambda _: None) -> Seen:
        """Wait until the load is over; `report` is told the number of answers so far."""
        seen, answers = Seen(), dict.fromkeys(self._running, 0)
        while self._running:
            for pipe in wait(self._running):
                assert isinstance(pipe, Connection)
                match pipe.recv():
                    case Seen() as part:
                        seen.add(part)
                        self._running.remove(pipe)
                    case int() as number:
                        answers[pipe] = number
                        report(sum(answers.values()))
        return seen

    def run(self, load: Load, report: Callable[[int], None] = lambda _: None) -> Seen:
        """Both."""
        self.begin(load)
        return self.finish(report)


@contextmanager
def generators(count: int) -> Iterator[Fleet]:
    """That many processes, ended with the block."""
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(count)]
    processes = [context.Process(target=_serve, args=(theirs,), daemon=True) for _, theirs in pairs]
    try:
        for process, (_, theirs) in zip(processes, pairs, strict=True):
            process.start()
            theirs.close()
        for ours, _ in pairs:
            ours.recv()  # so that all are there
        yield Fleet([ours for ours, _ in pairs])
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()


def _serve(pipe: Connection) -> None:
    """Run loads until nobody sends any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    from app.tools.load_generator import run  # noqa: PLC0415

    try:
        pipe.send(0)
        while True:
            pipe.send(run(pipe.recv(), pipe.send))
    except (EOFError, BrokenPipeError):
        pass
