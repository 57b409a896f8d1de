"""The policy of turns, rule by rule, and its properties on random arrivals."""

import random

from hypothesis import given
from hypothesis import strategies as st

from app.engine.schedule import Schedule

lengths = st.lists(st.integers(1, 12), min_size=1, max_size=15)


def drained(schedule: Schedule) -> list[list[tuple[int, int]]]:
    """The batches until nothing waits."""
    batches = []
    while schedule:
        plan = schedule.plan()
        schedule.take(plan)
        batches.append(list(plan.picks))
    return batches


@given(st.lists(lengths, min_size=1, max_size=6), st.integers(1, 20))
def test_every_row_goes_once_in_order_and_no_batch_is_too_large(
    jobs: list[list[int]], limit: int
) -> None:
    schedule = Schedule(limit)
    for number, rows in enumerate(jobs):
        schedule.add(number, rows)
    batches = drained(schedule)
    for number, rows in enumerate(jobs):
        gone = [row for batch in batches for job, row in batch if job == number]
        assert gone == list(range(len(rows)))
    for batch in batches:
        assert sum(jobs[job][row] for job, row in batch) <= limit or len(batch) == 1


@given(st.lists(lengths, min_size=2, max_size=6), st.integers(1, 20))
def test_between_two_rows_of_a_job_everyone_else_has_a_turn(
    jobs: list[list[int]], limit: int
) -> None:
    schedule = Schedule(limit)
    for number, rows in enumerate(jobs):
        schedule.add(number, rows)
    picks = [pick for batch in drained(schedule) for pick in batch]
    left = {number: len(rows) for number, rows in enumerate(jobs)}
    served_since: dict[int, set[int]] = {}
    for job, _ in picks:
        waiting = {other for other, rows in left.items() if rows} - {job}
        if job in served_since:
            assert waiting <= served_since[job]
        left[job] -= 1
        for others in served_since.values():
            others.add(job)
        served_since[job] = set()


def test_a_newcomer_is_in_the_next_batch_however_many_rows_wait() -> None:
    schedule = Schedule(100)
    schedule.add(1, [10] * 2048)
    schedule.take(schedule.plan())
    schedule.add(2, [10])
    assert (2, 0) in schedule.plan().picks


def test_a_row_longer_than_a_batch_goes_alone() -> None:
    schedule = Schedule(10)
    schedule.add(1, [50])
    schedule.add(2, [3, 3])
    assert [len(batch) for batch in drained(schedule)] == [1, 2]


def test_looking_takes_nothing_and_a_plan_says_whether_it_could_grow() -> None:
    schedule = Schedule(10)
    schedule.add(1, [4])
    assert schedule.plan() == schedule.plan()
    assert not schedule.plan().full
    schedule.add(2, [4])
    assert not schedule.plan().full
    schedule.add(3, [4])
    assert schedule.plan().full


def test_a_cancelled_job_leaves_and_the_others_stay() -> None:
    schedule = Schedule(10)
    schedule.add(1, [5] * 9)
    schedule.add(2, [5])
    schedule.cancel(1)
    schedule.cancel(1)
    assert drained(schedule) == [[(2, 0)]]


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_random_arrivals_and_cancellations_lose_nothing(seed: int, limit: int) -> None:
    rng = random.Random(seed)
    schedule, waiting, gone = Schedule(limit), {}, []
    for number in range(30):
        waiting[number] = [rng.randint(1, 9) for _ in range(rng.randint(1, 8))]
        schedule.add(number, waiting[number])
        if rng.random() < 0.2:
            victim = rng.choice(list(waiting))
            schedule.cancel(victim)
            del waiting[victim]
        if rng.random() < 0.7 and schedule:
            plan = schedule.plan()
            schedule.take(plan)
            gone += plan.picks
    gone += [pick for batch in drained(schedule) for pick in batch]
    assert len(gone) == len(set(gone))
    for number, rows in waiting.items():
        assert [row for job, row in gone if job == number] == list(range(len(rows)))
