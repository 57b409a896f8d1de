"""The policy of turns within a lane, rule by rule, and its properties on random arrivals."""

import random
from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from app.engine.row_scheduler import BatchPlan, RowScheduler

lengths = st.lists(st.integers(1, 12), min_size=1, max_size=15)


def rows_of(plan: BatchPlan) -> list[tuple[int, int]]:
    """A plan's rows as (job, row)."""
    return [(job, row) for job, first, stop in plan.shares for row in range(first, stop)]


def drained(scheduler: RowScheduler) -> list[list[tuple[int, int]]]:
    """The batches until nothing waits."""
    batches = []
    while scheduler:
        plan = scheduler.plan()
        scheduler.take(plan)
        batches.append(rows_of(plan))
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


def row_by_row(left: dict[int, deque[int]], ring: list[int], limit: int) -> list[int]:
    """The policy, slow and obvious: whose row is next, in the order of the picks of one batch."""
    picks: list[int] = []
    tokens = 0

    def pick(job: int) -> None:
        nonlocal tokens
        tokens += left[job].popleft()
        picks.append(job)

    if left[ring[0]][0] <= limit // 2:
        for job in sorted(left):
            while left[job] and tokens + left[job][0] <= limit // 2:
                pick(job)
            if left[job]:
                break
    turns = deque(ring)
    while turns:
        job = turns.popleft()
        if not left[job]:
            continue
        if picks and tokens + left[job][0] > limit:
            break
        pick(job)
        turns.append(job)
    return picks


@given(st.lists(lengths, min_size=1, max_size=9), st.integers(1, 60))
def test_half_of_a_batch_goes_by_age_and_the_rest_in_turns(
    jobs: list[list[int]], limit: int
) -> None:
    scheduler = RowScheduler(limit)
    for number, rows in enumerate(jobs):
        scheduler.add(number, rows)
    left, ring = {job: deque(rows) for job, rows in enumerate(jobs)}, list(range(len(jobs)))
    while scheduler:
        picks = row_by_row(left, ring, limit)
        by_last_turn = list(dict.fromkeys(reversed(picks)))[::-1]
        plan = scheduler.plan()
        assert [share.job for share in plan.shares] == by_last_turn
        assert Counter(job for job, _ in rows_of(plan)) == Counter(picks)
        scheduler.take(plan)
        ring = [job for job in ring if job not in picks] + by_last_turn
        ring = [job for job in ring if left[job]]
        left = {job: left[job] for job in sorted(ring)}


@given(st.lists(lengths, min_size=1, max_size=9), st.integers(1, 60), st.integers(1, 60))
def test_nothing_that_arrives_changes_a_full_plan(
    jobs: list[list[int]], limit: int, newcomer: int
) -> None:
    scheduler = RowScheduler(limit)
    for number, rows in enumerate(jobs):
        scheduler.add(number, rows)
    plan = scheduler.plan()
    scheduler.add(len(jobs), [newcomer])
    if plan.full:
        assert scheduler.plan().shares == plan.shares
    elif plan.tokens + newcomer <= limit:
        assert scheduler.plan().has_any([len(jobs)])


def test_the_oldest_is_done_in_twice_its_time_however_many_come_after_it() -> None:
    scheduler = RowScheduler(100)
    scheduler.add(0, [10] * 100)  # ten batches, alone
    for batch in range(20):
        for number in range(20):
            scheduler.add(1 + 20 * batch + number, [10])
        plan = scheduler.plan()
        scheduler.take(plan)
        if (0, 99) in rows_of(plan):
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
    assert not scheduler.plan().has_any([99])


def test_a_long_row_has_its_turn_though_there_are_older_jobs() -> None:
    scheduler = RowScheduler(100)
    scheduler.add(1, [10] * 100)
    scheduler.add(2, [70])
    scheduler.add(3, [500])
    seen = []
    while scheduler:
        plan = scheduler.plan()
        scheduler.take(plan)
        seen.append({share.job for share in plan.shares})
    assert {3} in seen[:4]
    assert any(2 in jobs for jobs in seen[:3])


def test_a_newcomer_is_in_the_next_batch_however_many_rows_wait() -> None:
    scheduler = RowScheduler(100)
    scheduler.add(1, [10] * 2048)
    scheduler.take(scheduler.plan())
    scheduler.add(2, [10])
    assert scheduler.plan().has_any([2])


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
            gone += rows_of(plan)
    gone += [pick for batch in drained(scheduler) for pick in batch]
    assert len(gone) == len(set(gone))
    for number, rows in waiting.items():
        assert [row for job, row in gone if job == number] == list(range(len(rows)))
