"""The policy of turns, rule by rule, and its properties on random arrivals."""

import random

from hypothesis import given
from hypothesis import strategies as st

from app.engine.row_scheduler import RowScheduler

lengths = st.lists(st.integers(1, 12), min_size=1, max_size=15)


def drained(scheduler: RowScheduler) -> list[list[tuple[int, int]]]:
    """The batches until nothing waits."""
    batches = []
    while scheduler:
        plan = scheduler.plan()
        scheduler.take(plan)
        batches.append(list(plan.picks))
    return batches


@given(st.lists(lengths, min_size=1, max_size=6), st.integers(1, 20))
def test_every_row_goes_once_in_order_and_no_batch_is_too_large(
    jobs: list[list[int]], limit: int
) -> None:
    scheduler = RowScheduler(limit)
    for number, rows in enumerate(jobs):
        scheduler.add(number, rows)
    batches = drained(scheduler)
    for number, rows in enumerate(jobs):
        gone = [row for batch in batches for job, row in batch if job == number]
        assert gone == list(range(len(rows)))
    for batch in batches:
        assert sum(jobs[job][row] for job, row in batch) <= limit or len(batch) == 1


@given(st.lists(lengths, min_size=2, max_size=9), st.integers(24, 60))
def test_half_of_a_batch_goes_by_age_and_the_rest_in_turns(
    jobs: list[list[int]], limit: int
) -> None:
    """No row is longer than half a batch here."""
    scheduler = RowScheduler(limit)
    for number, rows in enumerate(jobs):
        scheduler.add(number, rows)
    left, ring = [list(rows) for rows in jobs], list(range(len(jobs)))
    while scheduler:
        plan = scheduler.plan()
        scheduler.take(plan)
        tokens, by_age, picks = 0, 0, [job for job, _ in plan.picks]
        for job in sorted(range(len(jobs))):
            for row in left[job]:
                if tokens + row > limit // 2:
                    break
                assert picks[by_age] == job
                tokens, by_age = tokens + row, by_age + 1
            else:
                continue
            break
        for job in picks[:by_age]:
            left[job].pop(0)
        turns = picks[by_age:]
        able = [job for job in ring if left[job]]
        assert turns[: len(able)] == able[: len(turns)], "each has one turn before any has two"
        for job in turns:
            left[job].pop(0)
        for job in picks:
            ring.remove(job)
            ring.append(job)


def test_the_oldest_is_done_in_twice_its_time_however_many_come_after_it() -> None:
    scheduler = RowScheduler(100)
    scheduler.add(0, [10] * 100)  # ten batches, alone
    for batch in range(20):
        for number in range(20):
            scheduler.add(1 + 20 * batch + number, [10])
        plan = scheduler.plan()
        scheduler.take(plan)
        if (0, 99) in plan.picks:
            break
    assert batch < 20


def test_a_full_plan_is_open_to_a_newcomer_unless_everyone_in_it_had_one_turn() -> None:
    scheduler = RowScheduler(100)
    scheduler.add(1, [10] * 50)
    assert not scheduler.plan().full
    for number in range(2, 12):
        scheduler.add(number, [10])
    assert scheduler.plan().full
    scheduler.add(99, [10])
    assert 99 not in [job for job, _ in scheduler.plan().picks]


def test_a_long_row_has_its_turn_though_there_are_older_jobs() -> None:
    scheduler = RowScheduler(100)
    scheduler.add(1, [10] * 100)
    scheduler.add(2, [70])
    scheduler.add(3, [500])
    seen = []
    while scheduler:
        plan = scheduler.plan()
        scheduler.take(plan)
        seen.append({job for job, _ in plan.picks})
    assert {3} in seen[:4]
    assert any(2 in jobs for jobs in seen[:3])


def test_a_newcomer_is_in_the_next_batch_however_many_rows_wait() -> None:
    scheduler = RowScheduler(100)
    scheduler.add(1, [10] * 2048)
    scheduler.take(scheduler.plan())
    scheduler.add(2, [10])
    assert (2, 0) in scheduler.plan().picks


def test_a_row_longer_than_a_batch_goes_alone() -> None:
    scheduler = RowScheduler(10)
    scheduler.add(1, [50])
    scheduler.add(2, [3, 3])
    assert [len(batch) for batch in drained(scheduler)] == [1, 2]


def test_looking_takes_nothing_and_a_plan_says_whether_it_could_grow() -> None:
    scheduler = RowScheduler(10)
    scheduler.add(1, [4])
    assert scheduler.plan() == scheduler.plan()
    assert not scheduler.plan().full
    scheduler.add(2, [4])
    assert not scheduler.plan().full
    scheduler.add(3, [4])
    assert scheduler.plan().full


def test_a_cancelled_job_leaves_and_the_others_stay() -> None:
    scheduler = RowScheduler(10)
    scheduler.add(1, [5] * 9)
    scheduler.add(2, [5])
    scheduler.cancel(1)
    scheduler.cancel(1)
    assert drained(scheduler) == [[(2, 0)]]


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_random_arrivals_and_cancellations_lose_nothing(seed: int, limit: int) -> None:
    rng = random.Random(seed)
    scheduler, waiting, gone = RowScheduler(limit), {}, []
    for number in range(30):
        waiting[number] = [rng.randint(1, 9) for _ in range(rng.randint(1, 8))]
        scheduler.add(number, waiting[number])
        if rng.random() < 0.2:
            victim = rng.choice(list(waiting))
            scheduler.cancel(victim)
            del waiting[victim]
        if rng.random() < 0.7 and scheduler:
            plan = scheduler.plan()
            scheduler.take(plan)
            gone += plan.picks
    gone += [pick for batch in drained(scheduler) for pick in batch]
    assert len(gone) == len(set(gone))
    for number, rows in waiting.items():
        assert [row for job, row in gone if job == number] == list(range(len(rows)))
