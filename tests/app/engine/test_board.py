"""The board between a worker's threads, and the worker around it, with a device under control."""

import socket
import threading

import numpy as np
import pytest

from app.engine import messages
from app.engine.board import Board, PreparedBatch
from app.engine.control import AddLink, ControlSocket
from app.engine.worker import Worker
from model.rows import Row
from tests.workers import receive_from_worker

WIDTH = 4


def row(length: int) -> Row:
    return Row.single_span(np.zeros(length, np.int32), None)


def offered(board: Board[str]) -> PreparedBatch[str]:
    batch = board.plan()
    assert batch is not None
    prepared = PreparedBatch(batch, "tensors")
    board.offer(prepared)
    return prepared


def test_a_prepared_batch_grows_until_the_device_takes_it() -> None:
    board: Board[str] = Board(WIDTH, 100)
    board.add(1, [row(10)])
    offered(board)
    board.add(2, [row(10)])
    second = offered(board)
    assert [job for job, _ in second.next.plan.picks] == [1, 2]
    assert board.take() == second


def test_a_full_prepared_batch_is_left_alone() -> None:
    board: Board[str] = Board(WIDTH, 20)
    board.add(1, [row(10)] * 3)
    first = offered(board)
    board.add(2, [row(10)])
    assert board.take() == first


def test_a_plan_made_before_a_cancellation_is_not_run() -> None:
    board: Board[str] = Board(WIDTH, 100)
    board.add(1, [row(10)])
    board.add(2, [row(10)])
    stale = board.plan()
    assert stale is not None
    board.cancel(1)
    board.offer(PreparedBatch(stale, "tensors"))
    fresh = offered(board)
    taken = board.take()
    assert taken == fresh
    assert [job for job, _ in fresh.next.plan.picks] == [2]


def test_a_prepared_batch_loses_the_rows_of_a_cancelled_job() -> None:
    board: Board[str] = Board(WIDTH, 100)
    board.add(1, [row(10)])
    board.add(2, [row(10)])
    offered(board)
    board.cancel(2)
    fresh = offered(board)
    assert [job for job, _ in fresh.next.plan.picks] == [1]
    assert board.take() == fresh


def test_a_job_is_answered_when_its_last_row_is_there_in_the_order_of_its_rows() -> None:
    board: Board[str] = Board(WIDTH, 10)
    board.add(1, [row(10), row(10)])
    said = []
    for value in (1.0, 2.0):
        offered(board)
        taken = board.take()
        assert taken is not None
        said.append(board.finish_rows(taken.next.plan, [np.full((1, WIDTH), value, np.float32)]))
    assert said[0] == []
    (answer,) = said[1]
    assert isinstance(answer.outcome, np.ndarray)
    assert answer.outcome[:, 0].tolist() == [1.0, 2.0]


def test_a_job_fails_once_however_many_rows_fail() -> None:
    board: Board[str] = Board(WIDTH, 100)
    board.add(1, [row(10), row(10)])
    offered(board)
    taken = board.take()
    assert taken is not None
    (finished,) = board.finish_rows(taken.next.plan, ["why", "why"])
    assert (finished.job, finished.outcome) == (1, "why")
    assert board.finish_rows(taken.next.plan, ["why", "why"]) == []


def test_a_link_that_is_gone_takes_its_own_jobs_with_it() -> None:
    board: Board[str] = Board(WIDTH, 100)
    for job in ((0, 1), (1, 1), (1, 2)):
        board.add(job, [row(10)])
    offered(board)
    board.drop_link(1)
    fresh = offered(board)
    assert [job for job, _ in fresh.next.plan.picks] == [(0, 1)]


def test_the_end_lets_what_is_here_finish() -> None:
    board: Board[str] = Board(WIDTH, 100)
    board.add(1, [row(10)])
    board.end()
    offered(board)
    assert board.take() is not None
    assert board.plan() is None
    assert board.take() is None


class Device:
    """A device that runs when told, and answers each row with its token count."""

    class config:  # noqa: N801  (the embedder's attribute)
        hidden_size = WIDTH

    def __init__(self) -> None:
        self.running = threading.Semaphore(0)  # released when a forward pass begins
        self.may_end = threading.Semaphore(0)
        self.packed = threading.Semaphore(0)
        self.sizes: list[int] = []

    def pack(self, rows: list[Row]) -> list[Row]:
        self.packed.release()
        return rows

    def forward(self, rows: list[Row]) -> "Device.Tensor":
        self.sizes.append(len(rows))
        self.running.release()
        assert self.may_end.acquire(timeout=30)
        counts = [[float(len(each))] * WIDTH for each in rows]
        return Device.Tensor(np.array(counts, np.float32))

    class Tensor:
        """As much of a tensor as a worker touches."""

        def __init__(self, array: np.ndarray) -> None:
            self._array = array

        def cpu(self) -> "Device.Tensor":
            return self

        def numpy(self) -> np.ndarray:
            return self._array


@pytest.mark.parametrize("company", [1, 5])
def test_the_next_batch_is_ready_before_the_running_one_ends_and_has_all_that_gathered(
    company: int,
) -> None:
    ours, theirs = socket.socketpair()
    parent, control = socket.socketpair()
    device = Device()
    worker = Worker(device, 100)  # type: ignore[arg-type]
    thread = threading.Thread(target=worker.run, args=(ControlSocket(control),))
    with ours, parent, control:
        thread.start()
        with theirs:
            ControlSocket(parent).send(AddLink(), [theirs.fileno()])
        ours.sendall(messages.frame(messages.embed_message(0, [row(7)])))
        assert device.running.acquire(timeout=30)
        assert device.packed.acquire(timeout=30)
        for number in range(1, company + 1):
            ours.sendall(messages.frame(messages.embed_message(number, [row(number)])))
            # Packed while the first batch runs: it cannot end before it may.
            assert device.packed.acquire(timeout=30)
        assert device.sizes == [1]
        device.may_end.release(2)
        parent.shutdown(socket.SHUT_WR)
        thread.join(30)
        assert device.sizes == [1, company]
        answers = {}
        while (message := receive_from_worker(ours)) is not None:
            if isinstance(message, messages.JobResult):
                answers[message.job] = messages.vectors_of(message, WIDTH)[0, 0]
    assert answers == {0: 7.0, **{number: float(number) for number in range(1, company + 1)}}
