"""What a load generator is told, and what it has seen."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol


class Requests(Protocol):
    """What is sent."""

    def wire(self, number: int) -> bytes:
        """The bytes of a request."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Requests that were made beforehand, over and over."""

    wires: list[bytes]

    def wire(self, number: int) -> bytes:
        return self.wires[number % len(self.wires)]


@dataclass(frozen=True, slots=True)
class Load:
    """A closed loop, or an open one with a `rate`, until `seconds` or as many `requests`.

    The first request is that of number `base`. Of several processes each has every `step`th from
    `first` on, which counts from there. Every `keep_each`th answer
    is kept, `keep` at most in a process.
    """

    url: str
    requests: Requests
    connections: int
    seconds: float
    most: int | None = None
    rate: float | None = None
    timeout_s: float = 120.0
    keep: int = 4
    keep_each: int = 23
    base: int = 0
    first: int = 0
    step: int = 1


@dataclass(slots=True)
class Seen:
    """What became of a load: `answered` right ones up to the last of them before the end, `seconds`
    after the begin; the latencies of all right answers; failures by kind, with a sentence of the
    service for some kinds; (number, body) of the answers that were kept; how late requests of an
    open loop were sent though a connection was free; CPU seconds of the generators."""

    answered: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    sentences: dict[str, str] = field(default_factory=dict)
    kept: list[tuple[int, bytes]] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def per_s(self) -> float:
        """Right answers per second."""
        return self.answered / self.seconds if self.seconds else 0.0

    def latency(self, quantile: float) -> float:
        """The quantile (0..1) of the latencies, seconds."""
        return quantile_of(self.latencies, quantile)

    def right(self) -> "Seen":
        """The same, where a failure would make the figures worthless."""
        assert not self.failures, (self.failures, self.sentences)
        assert self.latencies, "nothing was answered in time"
        return self

    def add(self, other: "Seen") -> None:
        """The same load's part in another process."""
        self.answered += other.answered
        self.seconds = max(self.seconds, other.seconds)
        self.latencies += other.latencies
        self.failures += other.failures
        self.sentences = other.sentences | self.sentences
        self.kept += other.kept
        self.late += other.late
        self.cpu_s += other.cpu_s


def quantile_of(values: list[float], quantile: float) -> float:
    """By nearest rank, NaN where there are no values."""
    return sorted(values)[nearest_rank(len(values), quantile) - 1] if values else math.nan


def nearest_rank(count: int, quantile: float) -> int:
    """Of `count` values in order, from 1, the first that so many (0..1) of them do not exceed."""
    # Rounded, since .07 * 100 is 7.000000000000001.
    return max(math.ceil(round(quantile * count, 6)), 1)
