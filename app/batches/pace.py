"""How fast a job goes on: lines and tokens a second over the last minute, and when to say so."""

from collections import deque

_WINDOW_S = 60.0
_SAID_EVERY_S = 30.0


class Pace:
    """Counts what is done, by a clock of seconds that the caller reads."""

    def __init__(self, at: float) -> None:
        self._start = self._said = at
        self._done: deque[tuple[float, int, int]] = deque()
        self.lines_per_s = 0.0
        self.tokens_per_s = 0.0

    def add(self, at: float, lines: int, tokens: int) -> None:
        """So many more are done."""
        self._done.append((at, lines, tokens))
        while self._done[0][0] < at - _WINDOW_S:
            self._start = self._done.popleft()[0]
        seconds = max(at - self._start, 1e-3)
        self.lines_per_s = round(sum(each[1] for each in self._done) / seconds, 3)
        self.tokens_per_s = round(sum(each[2] for each in self._done) / seconds, 3)

    def is_due(self, at: float) -> bool:
        """Whether it is time for a line in the log, which is then taken as written."""
        due = at - self._said >= _SAID_EVERY_S
        if due:
            self._said = at
        return due
