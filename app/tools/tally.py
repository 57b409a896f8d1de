"""Tally: what a file's texts cost, counted as a stream. Pure.

Percentiles are by nearest rank: the fewest tokens that so many percent of the texts do not exceed.
"""

from collections import Counter
from dataclasses import dataclass, field

_NAMED = 10


@dataclass(slots=True)
class Tally:
    """Counts over all texts, as a histogram: bounded by the longest text, not by the file.

    `limit` is the tokens that the model reads; `charged` is what `usage` would say of all.
    `first_over` are the numbers, from 0, of the first records that are over the limit.
    """

    limit: int
    charged: int = 0
    over: int = 0
    first_over: list[int] = field(default_factory=list)
    histogram: Counter[int] = field(default_factory=Counter)

    def add(self, number: int, tokens: int) -> None:
        """Count the text of the record `number`."""
        self.histogram[tokens] += 1
        if tokens > self.limit:
            self.over += 1
            if len(self.first_over) < _NAMED:
                self.first_over.append(number)

    @property
    def texts(self) -> int:
        return self.histogram.total()

    @property
    def tokens(self) -> int:
        return sum(tokens * texts for tokens, texts in self.histogram.items())

    def percentile(self, percent: int) -> int:
        """Tokens at `percent` in 1..100; 0 where there is no text."""
        rank, below = -(-percent * self.texts // 100), 0
        for tokens in sorted(self.histogram):
            below += self.histogram[tokens]
            if below >= rank:
                return tokens
        return 0


@dataclass(frozen=True, slots=True)
class Report:
    """What is told of a file, in the order of the JSON's keys."""

    model: str
    task: str | None
    texts: int
    total_tokens: int
    median_tokens: int
    p95_tokens: int
    max_tokens: int
    limit: int
    over_limit: int
    first_over_limit: list[int]
    charged_tokens: int

    @staticmethod
    def of(tally: Tally, model: str, task: str | None) -> "Report":
        """The sums of `tally`."""
        return Report(
            model=model,
            task=task,
            texts=tally.texts,
            total_tokens=tally.tokens,
            median_tokens=tally.percentile(50),
            p95_tokens=tally.percentile(95),
            max_tokens=tally.percentile(100),
            limit=tally.limit,
            over_limit=tally.over,
            first_over_limit=tally.first_over,
            charged_tokens=tally.charged,
        )

    def table(self) -> str:
        """For people."""
        more = ", ..." if self.over_limit > len(self.first_over_limit) else ""
        records = ", ".join(map(str, self.first_over_limit)) + more
        over = f"; record {records}" if self.over_limit else ""
        task = self.task or "no task"
        rows = (
            ("texts", self.texts, self.model),
            ("tokens", self.total_tokens, "the texts' own"),
            ("median", self.median_tokens, "of a text"),
            ("95th percentile", self.p95_tokens, "of a text"),
            ("max", self.max_tokens, "of a text"),
            ("over the limit", self.over_limit, f"of {self.limit} tokens{over}"),
            ("charged", self.charged_tokens, f"for {task}: with two special tokens a text"),
        )
        return "\n".join(f"{name:<16}{count:>12}  {meaning}" for name, count, meaning in rows)
