"""The board while a small batch waits for callers who were just answered."""

from concurrent.futures import ThreadPoolExecutor

from app.engine.board import Board
from app.engine.gathering import SMALL_TOKENS, Gathering
from tests.app.engine.boards import FOREVER_S, ONE, THREE, TWO, Jobs, jobs, offered, taken, vectors
from tests.app.engine.devices import row


def answered(jobs: Jobs, waiting: Jobs) -> Board[str]:
    """A board that has just answered some jobs after a batch that took very long, while others
    wait."""
    board: Board[str] = Board(1000, gathering=Gathering(FOREVER_S))
    board.add([(job, [row(10)]) for job in jobs])
    batch = taken(board)
    board.add([(job, [row(10)]) for job in waiting])
    assert len(board.finish(batch.next, vectors(*range(len(jobs))), {}, 4 * FOREVER_S)) == len(jobs)
    return board


def test_a_small_batch_waits_for_as_many_as_were_answered() -> None:
    """It is packed when all are there: the one that was prepared lacks their rows."""
    board = answered([ONE, TWO], waiting=[THREE])
    offered(board)
    back = [(0, 3), (0, 4)]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(taken, board)
        for job in back:
            assert not waiting.done()
            board.add([(job, [row(10)])])
        batch = waiting.result(30)
    assert (jobs(batch), batch.packed) == ([THREE, *back], None)


def test_a_batch_that_is_not_small_does_not_wait_nor_does_a_full_one() -> None:
    board = answered([ONE, TWO], waiting=[THREE])
    board.add([((0, 3), [row(SMALL_TOKENS)])])
    assert jobs(taken(board)) == [THREE, (0, 3)]
    board = answered([ONE, TWO], waiting=[THREE])
    board.cancel([THREE])
    board.add([((0, 3), [row(1001)])])
    assert jobs(taken(board)) == [(0, 3)]


def test_flex_jobs_are_not_waited_for_and_are_not_who_comes_back() -> None:
    board: Board[str] = Board(1000, gathering=Gathering(FOREVER_S))
    board.add([(ONE, [row(10)])], flex=True)
    batch = taken(board)
    board.add([(TWO, [row(10)])])
    board.finish(batch.next, vectors(0), {}, 4 * FOREVER_S)
    second = taken(board)  # at once
    board.add([(THREE, [row(10)])], flex=True)
    board.finish(second.next, vectors(0), {}, 4 * FOREVER_S)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(taken, board)
        board.add([((0, 3), [row(10)])], flex=True)
        board.add([((0, 4), [row(10)])])
        assert jobs(waiting.result(30)) == [(0, 4), THREE, (0, 3)]


def test_the_end_and_a_caller_who_hangs_up_are_not_waited_out() -> None:
    board = answered([ONE, TWO], waiting=[THREE])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(board.take)
        board.end()
        batch = waiting.result(30)
        assert batch is not None
        assert jobs(batch) == [THREE]
    board = answered([ONE, TWO], waiting=[THREE])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(board.take)
        board.cancel([THREE])
        board.end()
        assert waiting.result(30) is None
