"""A worker's links, with sockets that take less than is sent."""

import socket
import threading

import numpy as np

from app.engine import messages
from app.engine.board import Board
from app.engine.http_links import HttpLinks
from tests.workers import receive_from_worker

WIDTH = 64
DONE = messages.BatchDone(1, 1, 1, 0.1)


def test_answers_arrive_whole_and_in_order_however_slowly_they_are_read(
    rng: np.random.Generator,
) -> None:
    """Short ones and ones that fill the socket many times over."""
    links = HttpLinks(Board(100))
    ours, theirs = socket.socketpair()
    links.add(theirs)
    sizes = rng.choice([1, 2, 5000], size=200, p=[0.7, 0.2, 0.1]).tolist()
    received: list[tuple[int, int]] = []

    def receive() -> None:
        while (message := receive_from_worker(ours)) is not None:
            if isinstance(message, messages.JobResult):
                found = messages.vectors_of(message, WIDTH)
                assert (found == message.job).all()
                received.append((message.job, len(found)))

    reader = threading.Thread(target=receive)
    reader.start()
    for job, size in enumerate(sizes):
        vectors = np.full((size, WIDTH), job, np.float32)
        links.send(DONE, {0: [messages.result_message(job, vectors, 0.1)]})
    links.close(30)
    reader.join(30)
    ours.close()
    assert received == list(enumerate(sizes))


def test_an_http_process_that_has_gone_is_no_error() -> None:
    links = HttpLinks(Board(100))
    kept, gone = [socket.socketpair() for _ in range(2)]
    for _, theirs in (kept, gone):
        links.add(theirs)
    gone[0].close()
    for job in range(100):
        result = messages.result_message(job, np.ones((1, WIDTH), np.float32), 0.1)
        links.send(DONE, {0: [result], 1: [result]})
        while isinstance(message := receive_from_worker(kept[0]), messages.BatchDone):
            pass
        assert isinstance(message, messages.JobResult)
        assert message.job == job
    links.close(30)
    kept[0].close()
