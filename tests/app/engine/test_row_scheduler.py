"""The policy between the lanes, rule by rule, and its properties on random arrivals.

Interactive jobs have numbers from 0 up, flex jobs from FLEX up; B is the most tokens of a batch.
"""

import random
from collections.abc import Callable, Iterator

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.engine.row_scheduler import BATCHES_ALONE, BatchPlan, RowScheduler

FLEX = 1_000_000
B = 100
# A share so small that nothing is ever owed.
NONE_OWED = 1e-9

seeds = st.integers(0, 2**32)
shares = st.floats(0.01, 0.5)
longest_rows = st.integers(1, 3 * B)


def rows_of(plan: BatchPlan, *, flex: bool) -> list[tuple[int, int]]:
    """A plan's rows of one lane as (job, row)."""
    rows = [(job, row) for job, first, stop in plan.shares for row in range(first, stop)]
    return [(job, row) for job, row in rows if (job >= FLEX) == flex]


class Arrivals:
    """Jobs of random rows, up to so many tokens each, that keep a lane from running empty."""

    def __init__(self, scheduler: RowScheduler, seed: int, longest: int, *, flex: bool) -> None:
        self._scheduler, self._rng = scheduler, random.Random(seed)
        self._longest, self._flex = longest, flex
        self._number = FLEX if flex else 0
        self._waiting = 0
        self.tokens: dict[int, list[int]] = {}

    def __call__(self, least: int) -> None:
        """Let at least so many tokens wait."""
        while self._waiting < least:
            rows = [self._rng.randint(1, self._longest) for _ in range(self._rng.randint(1, 9))]
            self._scheduler.add(self._number, rows, flex=self._flex)
            self.tokens[self._number] = rows
            self._waiting += sum(rows)
            self._number += 1

    def left(self, plan: BatchPlan) -> int:
        """Tokens of a plan in this lane, which wait no more."""
        gone = sum(self.tokens[job][row] for job, row in rows_of(plan, flex=self._flex))
        self._waiting -= gone
        return gone


def busy(
    seed: int, share: float, longest: int, longest_flex: int
) -> Iterator[tuple[BatchPlan, Arrivals, Callable[[], int]]]:
    """Batches of a device before which both lanes always wait: each with the flex lane, and what
    tells how many tokens its next row has that has the longest waited."""
    scheduler = RowScheduler(B, share)
    interactive = Arrivals(scheduler, seed, longest, flex=False)
    flex = Arrivals(scheduler, seed + 1, longest_flex, flex=True)
    for _ in range(150):
        interactive(4 * max(B, longest))
        flex(2 * max(B, longest_flex))
        plan = scheduler.plan()
        scheduler.take(plan)
        yield plan, interactive, lambda plan=plan: flex.left(plan)
        interactive.left(plan)


@settings(max_examples=50)
@given(seeds, shares, longest_rows, longest_rows)
def test_flex_rows_get_their_share_of_any_stretch_in_which_they_wait(
    seed: int, share: float, longest: int, longest_flex: int
) -> None:
    """But for the tokens of a row and a batch; so each waits for a bounded number of tokens."""
    owed = most_owed = 0.0
    for plan, _, flex_tokens in busy(seed, share, longest, longest_flex):
        assert flex_tokens() == plan.flex_tokens
        owed = max(0.0, owed + share * plan.tokens - plan.flex_tokens)
        most_owed = max(most_owed, owed)
    assert most_owed < longest_flex + max(B, longest, longest_flex)


@settings(max_examples=50)
@given(seeds, shares, longest_rows, longest_rows)
def test_interactive_rows_get_the_rest_of_a_device_that_has_no_room_left(
    seed: int, share: float, longest: int, longest_flex: int
) -> None:
    """Flex rows get no more than what is owed and what interactive rows cannot use: the room in a
    batch that is smaller than the one whose turn it is."""
    spent = flex = unusable = 0
    for plan, _, flex_tokens in busy(seed, share, longest, longest_flex):
        spent += plan.tokens
        flex += flex_tokens()
        interactive = plan.tokens - plan.flex_tokens
        unusable += min(longest, max(B - interactive, 0))
    assert flex <= share * spent + unusable + longest_flex + B


@given(seeds, longest_rows, longest_rows)
def test_flex_rows_that_are_not_owed_change_nothing_for_interactive_ones(
    seed: int, longest: int, longest_flex: int
) -> None:
    both, alone = RowScheduler(B, NONE_OWED), RowScheduler(B)
    arrivals = [Arrivals(each, seed, longest, flex=False) for each in (both, alone)]
    flex = Arrivals(both, seed, longest_flex, flex=True)
    for least in (5 * B, 0, 0, B, 0):
        flex(2 * B)
        for each in arrivals:
            each(least)
        if not alone:
            break
        mixed, plain = both.plan(), alone.plan()
        assert rows_of(mixed, flex=False) == rows_of(plain, flex=False)
        assert mixed.full == plain.full
        both.take(mixed)
        alone.take(plain)
        for each, plan in zip(arrivals, (mixed, plain), strict=True):
            each.left(plan)
        flex.left(mixed)


@given(st.integers(1, B), st.integers(1, B), st.integers(1, 9))
def test_a_query_beside_endless_flex_waits_for_one_batch_and_its_own(
    query: int, longest: int, before: int
) -> None:
    """What is beside it in its own batch is what the batch before left of a full one."""
    scheduler = RowScheduler(B)
    flex = Arrivals(scheduler, query, longest, flex=True)
    for number in range(before):
        flex(3 * B)
        scheduler.take(running := scheduler.plan())
        flex.left(running)
        scheduler.add(number, [query])
        assert not running.full
        own = scheduler.plan()
        assert (number, 0) in rows_of(own, flex=False)
        assert own.tokens <= max(B - running.tokens, query)
        scheduler.take(own)
        flex.left(own)


@given(st.integers(1, B // 2), st.integers(1, B // 2))
def test_while_queries_come_flex_rows_have_half_a_batch_and_then_all_of_it(
    query: int, longest: int
) -> None:
    scheduler = RowScheduler(B, NONE_OWED)
    flex = Arrivals(scheduler, query, longest, flex=True)
    scheduler.add(0, [query])
    scheduler.take(scheduler.plan())
    tokens = []
    for _ in range(BATCHES_ALONE + 1):
        flex(3 * B)
        scheduler.take(plan := scheduler.plan())
        flex.left(plan)
        tokens.append(plan.tokens)
    *halves, last = tokens
    assert all(B // 2 - longest < each <= B // 2 for each in halves)
    assert B - longest < last <= B
    scheduler.add(1, [query])
    scheduler.take(scheduler.plan())
    flex(3 * B)
    scheduler.take(running := scheduler.plan())
    flex.left(running)
    scheduler.add(2, [query])
    own = scheduler.plan()
    assert running.tokens <= B // 2
    assert own.tokens <= max(B // 2 - running.tokens, query)


@given(st.lists(st.integers(1, B // 2), min_size=1, max_size=20), st.integers(1, B))
def test_flex_rows_fill_the_room_that_others_leave(flex: list[int], query: int) -> None:
    scheduler = RowScheduler(B, NONE_OWED)
    scheduler.add(FLEX, flex, flex=True)
    scheduler.add(1, [query])
    plan = scheduler.plan()
    taken = len(rows_of(plan, flex=True))
    assert plan.tokens == query + sum(flex[:taken]) <= B
    assert taken == len(flex) or plan.tokens + flex[taken] > B


@given(seeds, shares, longest_rows, longest_rows, st.integers(1, 2 * B))
def test_no_interactive_row_that_arrives_changes_a_full_plan(
    seed: int, share: float, longest: int, longest_flex: int, newcomer: int
) -> None:
    scheduler = RowScheduler(B, share)
    interactive = Arrivals(scheduler, seed, longest, flex=False)
    flex = Arrivals(scheduler, seed, longest_flex, flex=True)
    for least in random.Random(seed).choices([0, B, 3 * B], k=9):
        interactive(least)
        flex(least // 2)
        assume(scheduler)
        plan = scheduler.plan()
        scheduler.add(FLEX - 1, [newcomer])
        if plan.full:
            assert scheduler.plan() == plan
        scheduler.cancel(FLEX - 1)
        scheduler.take(plan)
        interactive.left(plan)
        flex.left(plan)


@given(seeds, shares, longest_rows)
def test_random_arrivals_and_cancellations_in_both_lanes_lose_nothing(
    seed: int, share: float, longest: int
) -> None:
    rng, scheduler = random.Random(seed), RowScheduler(B, share)
    waiting: dict[int, list[int]] = {}
    gone: list[tuple[int, int]] = []
    for number in range(40):
        job = number + FLEX * rng.randint(0, 1)
        waiting[job] = [rng.randint(1, longest) for _ in range(rng.randint(1, 8))]
        scheduler.add(job, waiting[job], flex=job >= FLEX)
        if rng.random() < 0.2:
            victim = rng.choice(list(waiting))
            scheduler.cancel(victim)
            del waiting[victim]
        while scheduler and rng.random() < (0.5 if number < 39 else 1):
            scheduler.take(plan := scheduler.plan())
            rows = rows_of(plan, flex=False) + rows_of(plan, flex=True)
            assert rows, "a batch has a row"
            assert plan.tokens <= B or len(rows) == 1
            gone += rows
    assert len(gone) == len(set(gone))
    for job, rows in waiting.items():
        assert [row for of, row in gone if of == job] == list(range(len(rows)))


def test_a_long_flex_row_goes_alone_as_soon_as_it_is_owed() -> None:
    scheduler = RowScheduler(B, 0.1)
    scheduler.add(FLEX, [3 * B], flex=True)
    scheduler.add(1, [10] * 1000)
    batches = 0
    while not (plan := scheduler.plan()).flex_tokens:
        scheduler.take(plan)
        batches += 1
    assert (batches, plan.tokens) == (30, 3 * B)


def test_what_flex_took_of_an_idle_device_is_not_held_against_it() -> None:
    scheduler = RowScheduler(B, 0.1)
    scheduler.add(FLEX, [10] * 1000, flex=True)
    for _ in range(50):
        scheduler.take(scheduler.plan())
    scheduler.add(1, [10] * 1000)
    tokens = []
    for _ in range(20):
        scheduler.take(plan := scheduler.plan())
        tokens.append(plan.flex_tokens)
    assert sum(tokens) >= 0.1 * 20 * B - 10
    assert max(tokens) == 10
