"""What `quintet bench` prints: a table for people, and one line of JSON, the last."""

import json
import math
from dataclasses import dataclass
from typing import Any

from app.tools.load import Seen, quantile_of

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, slots=True)
class Measured:
    """What was seen, of requests of so many texts, of so many tokens on average; after so many
    windows, of which the last two agreed, where there were any."""

    seen: Seen
    inputs: int
    tokens: float
    windows: int
    steady: bool | None

    def figures(self) -> dict[str, Any]:
        """Rates a second; milliseconds."""
        seen, texts = self.seen, self.seen.per_s * self.inputs
        latencies = {
            f"{name}_ms": _rounded(1e3 * seen.latency(quantile))
            for name, quantile in _QUANTILES.items()
        }
        return {
            "answered": len(seen.latencies),
            "failed": seen.failures.total(),
            "failures": dict(seen.failures),
            "measured_s": _rounded(seen.seconds),
            "requests_per_s": _rounded(seen.per_s),
            "texts_per_s": _rounded(texts),
            "tokens_per_s": _rounded(texts * self.tokens),
            **latencies,
            "late_p99_ms": _rounded(1e3 * quantile_of(seen.late, 0.99)),
            "generator_cores": _rounded(seen.cpu_s / seen.seconds) if seen.seconds else None,
            "warm_up_windows": self.windows,
            "steady": self.steady,
        }


def _rounded(value: float) -> float | None:
    """Four digits; JSON has no NaN."""
    return None if math.isnan(value) else float(f"{value:.4g}")


def table(measured: Measured) -> str:
    """For people."""
    figures, seen = measured.figures(), measured.seen
    steady = {True: "", False: ", not steady: the last two windows differ by over 5 %", None: ""}
    rows = [
        ("answered", "answered", f"requests, {figures['failed']} failed"),
        ("requests", "requests_per_s", f"a second, for {seen.seconds:.1f} s"),
        ("texts", "texts_per_s", "a second"),
        ("tokens", "tokens_per_s", "a second"),
        *((name, f"{name}_ms", "ms") for name in _QUANTILES),
        ("generator", "generator_cores", "cores"),
        ("warm-up", "warm_up_windows", f"windows{steady[measured.steady]}"),
    ]
    if seen.late:
        rows.append(("sent late", "late_p99_ms", "ms, p99: the generator's own delay"))
    lines = [f"{name:<12}{_shown(figures[key]):>12}  {meaning}" for name, key, meaning in rows]
    for kind, count in seen.failures.most_common():
        sentence = seen.sentences.get(kind)
        lines.append(f"{'failed':<12}{count:>12}  {kind}{f': {sentence}' if sentence else ''}")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.10g}"


def json_line(facts: dict[str, Any], measured: Measured) -> str:
    """Facts and figures."""
    found = {"bench": "url", **facts, **measured.figures()}
    return json.dumps(found, ensure_ascii=False)
