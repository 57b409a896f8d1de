"""Gathering: for how long a small batch waits for callers who were just answered. A pure policy:
times are arguments.

It keeps promise 15 of README.md. Callers who send their next request when they are answered (a
closed loop) come back together. If the next batch goes at once with what waits already, they miss
it, and from there on two halves of them take turns in batches that are half as large, which a CPU
computes less efficiently. So a batch waits until as many jobs have come as were answered:

1. for at most half of the time that the last batch took, and as long as an HTTP process takes to
   answer them and to read what they send next;
2. while it has fewer than SMALL_TOKENS, since a larger one would gain nothing;
3. as long as that pays: where less than three of four came back in that time, the next 16 batches
   do not wait, and twice as many each time that it fails again, up to 128.

The next job of a caller who was answered alone never waits: it is the one that came back.
"""

# Batches of 32 x 16 tokens reach the rate of larger ones (tests/bench/README.md).
SMALL_TOKENS = 512
# To answer a request and read the next takes an HTTP process .5 to 1 ms, and the load or client
# that it shares the core with as long again (tests/bench/README.md).
_FIRST_S, _EACH_S = 0.002, 0.0025
_PART_OF_A_BATCH = 0.5
_ENOUGH = 0.75
_LEAST_PAUSE, _LONGEST_PAUSE = 16, 128  # batches


class Gathering:
    """Who was answered last, how many jobs have come since, and whether waiting for them paid."""

    def __init__(self, each_s: float = _EACH_S) -> None:
        """`each_s`: how long an answered caller takes to come back, in seconds."""
        self._each_s = each_s
        self._answered = self._came = 0
        self._until = 0.0
        self._pause = 0  # batches that do not wait after the last failure
        self._paused = 0  # how many of them are left

    def answered(self, jobs: int, batch_s: float, now: float) -> None:
        """A batch that took so many seconds has answered so many jobs."""
        patience_s = min(_PART_OF_A_BATCH * batch_s, _FIRST_S + self._each_s * jobs)
        self._answered, self._came, self._until = jobs, 0, now + patience_s

    def arrived(self, jobs: int) -> None:
        """So many jobs have come."""
        self._came += jobs

    def wait_s(self, now: float) -> float:
        """For how many seconds at most a small batch waits, if nobody comes."""
        if self._paused or self._came >= self._answered:
            return 0.0
        return max(self._until - now, 0.0)

    def launched(self, now: float, *, waited: bool) -> None:
        """A batch goes: learn whether waiting paid, if it has waited."""
        if self._paused:
            self._paused -= 1
        elif waited:
            paid = now < self._until or self._came >= _ENOUGH * self._answered
            self._pause = 0 if paid else min(max(2 * self._pause, _LEAST_PAUSE), _LONGEST_PAUSE)
            self._paused = self._pause
        self._answered = 0
