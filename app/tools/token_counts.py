"""Token counts of a file's texts, added up as a stream, and the report of `quintet tokens`.

Percentiles are by nearest rank: the fewest tokens that so many percent of the texts do not exceed.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from app.tools.load import nearest_rank

_MOST_NUMBERS = 10


@dataclass(slots=True)
class TokenCounts:
    """Counts over all texts, as a histogram: bounded by the longest text, not by the file.

    `limit` is the tokens that the model reads; `charged` is what `usage` would add up to.
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
            if len(self.first_over) < _MOST_NUMBERS:
                self.first_over.append(number)

    @property
    def texts(self) -> int:
        return self.histogram.total()

    @property
    def tokens(self) -> int:
        return sum(tokens * texts for tokens, texts in self.histogram.items())

    def percentile(self, percent: int) -> int:
        """Tokens at `percent` in 1..100; 0 where there is no text."""
        rank, below = nearest_rank(self.texts, percent / 100), 0
        for tokens in sorted(self.histogram):
            below += self.histogram[tokens]
            if below >= rank:
                return tokens
        return 0


def report_of(counts: TokenCounts, model: str, task: str | None) -> dict[str, Any]:
    """The object that --json prints."""
    return {
        "model": model,
        "task": task,
        "texts": counts.texts,
        "total_tokens": counts.tokens,
        "median_tokens": counts.percentile(50),
        "p95_tokens": counts.percentile(95),
        "max_tokens": counts.percentile(100),
        "limit": counts.limit,
        "over_limit": counts.over,
        "first_over_limit": counts.first_over,
        "charged_tokens": counts.charged,
    }


def table(report: dict[str, Any]) -> str:
    """A report as a table for people."""
    first = report["first_over_limit"]
    more = ", ..." if report["over_limit"] > len(first) else ""
    over = f"; record {', '.join(map(str, first))}{more}" if first else ""
    task = report["task"] or "no task"
    rows = (
        ("texts", "texts", report["model"]),
        ("tokens", "total_tokens", "the texts' own"),
        ("median", "median_tokens", "of a text"),
        ("95th percentile", "p95_tokens", "of a text"),
        ("max", "max_tokens", "of a text"),
        ("over the limit", "over_limit", f"of {report['limit']} tokens{over}"),
        ("charged", "charged_tokens", f"for {task}: with two special tokens a text"),
    )
    return "\n".join(f"{name:<16}{report[key]:>12}  {meaning}" for name, key, meaning in rows)
