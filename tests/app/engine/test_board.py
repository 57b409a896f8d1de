"""The board between a worker's threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from app.engine.board import Board
from app.engine.next_batch import PreparedBatch
from tests.app.engine.boards import FOREVER_S, ONE, THREE, TWO, jobs, offered, taken, vectors
from tests.app.engine.devices import row


class Batch:
    """One that runs."""

    def __init__(self, *, done: bool = False) -> None:
        self.is_done = done

    def done(self) -> bool:
        return self.is_done


def test_a_prepared_batch_grows_until_the_device_takes_it() -> None:
    board: Board[str] = Board(100)
    board.add([(ONE, [row(10)])])
    offered(board)
    board.add([(TWO, [row(10)])])
    second = offered(board)
    assert jobs(second) == [ONE, TWO]
    assert board.take() == second


def test_a_full_prepared_batch_is_left_alone() -> None:
    board: Board[str] = Board(20)
    board.add([(ONE, [row(10)]), (TWO, [row(10)])])
    first = offered(board)
    board.add([(THREE, [row(10)])])
    assert board.take() == first
    assert jobs(offered(board)) == [THREE]


def test_what_comes_while_packing_would_take_too_much_time_waits_for_the_next_batch() -> None:
    """After a slow pack the batch is not packed again for a long time, however many jobs come."""
    board: Board[str] = Board(10_000)
    board.add([(ONE, [row(10)])])
    first = offered(board, FOREVER_S)
    late = [((1, number), [row(10)]) for number in range(100)]
    with ThreadPoolExecutor(1) as pool:
        planned = pool.submit(offered, board)
        for job in late:
            board.add([job])
        assert board.take() == first
        second = planned.result(30)
    assert jobs(second) == [job for job, _ in late]
    assert board.take() == second


def test_a_device_that_waits_is_not_kept_waiting_for_a_pack() -> None:
    """It takes the rows as they are."""
    board: Board[str] = Board(100)
    board.add([(ONE, [row(10)]), (TWO, [row(10)])])
    offered(board, FOREVER_S)
    board.cancel([ONE])
    batch = taken(board)
    assert (jobs(batch), batch.packed) == ([TWO], None)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(taken, board)
        board.add([(THREE, [row(10)])])
        assert jobs(waiting.result(30)) == [THREE]


def test_a_device_that_waits_while_its_batch_is_packed_takes_it_packed() -> None:
    board: Board[str] = Board(100)
    board.add([(ONE, [row(10)])])
    batch = board.plan()
    assert batch is not None
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(taken, board)
        board.add([(TWO, [row(10)])])
        prepared = PreparedBatch(batch, "tensors", 0)
        board.offer(prepared)
        assert waiting.result(30) == prepared


def test_a_full_batch_is_taken_while_one_runs_and_an_open_one_when_that_is_done() -> None:
    board: Board[str] = Board(20)
    board.add([(ONE, [row(20)])])
    full = offered(board)
    running = Batch()
    assert taken(board, running) == full
    board.add([(TWO, [row(10)])])
    offered(board)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(taken, board, running)
        board.add([(THREE, [row(5)])])
        grown = offered(board)
        running.is_done = True
        board.wake()
        assert waiting.result(30) == grown


def test_no_third_batch_is_taken_while_two_run() -> None:
    board: Board[str] = Board(20)
    board.add([(ONE, [row(20)])])
    full = offered(board)
    first, second = Batch(), Batch()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(board.take, [first, second])
        first.is_done = True
        board.wake()
        assert waiting.result(30) is None
    assert taken(board, second) == full


def test_a_plan_made_before_a_cancellation_is_not_run() -> None:
    board: Board[str] = Board(100)
    board.add([(ONE, [row(10)]), (TWO, [row(10)])])
    stale = board.plan()
    assert stale is not None
    board.cancel([ONE])
    board.offer(PreparedBatch(stale, "tensors", 0))
    fresh = offered(board)
    assert board.take() == fresh
    assert jobs(fresh) == [TWO]


def test_a_plan_made_before_the_device_took_its_rows_is_not_run() -> None:
    board: Board[str] = Board(100)
    board.add([(ONE, [row(10)])])
    first = offered(board)
    board.add([(TWO, [row(10)])])
    stale = board.plan()
    assert stale is not None
    assert board.take() == first
    board.offer(PreparedBatch(stale, "tensors", 0))
    assert jobs(taken(board)) == [TWO]


def test_a_prepared_batch_loses_the_rows_of_a_cancelled_job_and_no_others() -> None:
    board: Board[str] = Board(20)
    board.add([(ONE, [row(10)]), (TWO, [row(10)]), (THREE, [row(10)])])
    first = offered(board)
    board.cancel([THREE])
    assert jobs(first) == [ONE, TWO]
    board.cancel([TWO])
    fresh = offered(board)
    assert jobs(fresh) == [ONE]
    assert board.take() == fresh


def test_a_cancellation_elsewhere_leaves_a_prepared_batch_as_it_is() -> None:
    board: Board[str] = Board(20)
    board.add([(ONE, [row(10)]), (TWO, [row(10)]), (THREE, [row(10)])])
    first = offered(board)
    board.cancel([THREE])
    assert board.take() == first


def test_a_job_is_answered_when_its_last_row_is_there_in_the_order_of_its_rows() -> None:
    board: Board[str] = Board(10)
    board.add([(ONE, [row(10), row(10)])])
    said = []
    for value in (1.0, 2.0):
        offered(board)
        said.append(board.finish(taken(board).next, vectors(value), {}))
    assert said[0] == []
    (answer,) = said[1]
    assert isinstance(answer.outcome, np.ndarray)
    assert answer.outcome[:, 0].tolist() == [1.0, 2.0]


def test_each_job_of_a_batch_gets_the_vectors_of_its_own_rows() -> None:
    board: Board[str] = Board(100)
    board.add([(job, [row(10)] * rows) for job, rows in ((ONE, 3), (TWO, 1), (THREE, 2))])
    offered(board)
    batch = taken(board)
    board.cancel([TWO])
    finished = board.finish(batch.next, vectors(*range(6)), {})
    starts = dict(zip(jobs(batch), np.cumsum([0, *batch.next.share_spans]).tolist(), strict=False))
    for each in finished:
        assert isinstance(each.outcome, np.ndarray)
        expected = starts[each.job] + np.arange(len(each.outcome))
        np.testing.assert_array_equal(each.outcome[:, 0], expected)
    assert {each.job: len(each.outcome) for each in finished} == {ONE: 3, THREE: 2}


def test_a_job_fails_once_however_many_rows_fail() -> None:
    board: Board[str] = Board(100)
    board.add([(ONE, [row(10), row(10)])])
    offered(board)
    batch = taken(board).next
    (finished,) = board.finish(batch, vectors(0, 0), {0: "why", 1: "why"})
    assert (finished.job, finished.outcome) == (ONE, "why")
    assert board.finish(batch, vectors(0, 0), {0: "why", 1: "why"}) == []


def test_a_link_that_is_gone_takes_its_own_jobs_with_it() -> None:
    board: Board[str] = Board(100)
    board.add([(job, [row(10)]) for job in ((0, 1), (1, 1), (1, 2))])
    offered(board)
    board.drop_link(1)
    assert jobs(offered(board)) == [(0, 1)]


def test_the_end_lets_what_is_here_finish() -> None:
    board: Board[str] = Board(100)
    board.add([(ONE, [row(10)])])
    board.end()
    offered(board)
    assert board.take() is not None
    assert board.plan() is None
    assert board.take() is None


def test_a_job_that_comes_drives_flex_rows_out_of_a_batch_that_is_ready() -> None:
    """Though packing would take too much time, and though the batch has no room."""
    board: Board[str] = Board(20)
    board.add([(ONE, [row(10), row(10), row(10)])], flex=True)
    board.take()
    board.add([(TWO, [row(10)])], flex=True)
    assert jobs(offered(board, FOREVER_S)) == [ONE, TWO]
    board.add([(THREE, [row(10)])])
    assert jobs(taken(board)) == [THREE]


def test_a_job_that_comes_while_flex_rows_are_packed_does_not_wait_for_them() -> None:
    board: Board[str] = Board(20)
    board.add([(ONE, [row(10), row(10)])], flex=True)
    packing = board.plan()
    assert packing is not None
    board.add([(TWO, [row(10)])])
    board.offer(PreparedBatch(packing, "tensors", FOREVER_S))
    assert jobs(taken(board)) == [TWO, ONE]


def test_a_flex_job_that_comes_leaves_a_batch_that_is_ready_as_it_is() -> None:
    board: Board[str] = Board(20)
    board.add([(ONE, [row(10)])])
    first = offered(board, FOREVER_S)
    board.add([(TWO, [row(10)])], flex=True)
    assert board.take() == first
