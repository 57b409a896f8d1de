"""The summary of token counts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.tools.token_counts import TokenCounts, report_of


@given(st.lists(st.integers(0, 50)), st.integers(0, 50))
def test_the_percentiles_are_numpys(counts: list[int], limit: int) -> None:
    token_counts = TokenCounts(limit)
    for number, tokens in enumerate(counts):
        token_counts.add(number, tokens)
    over = [number for number, tokens in enumerate(counts) if tokens > limit]
    report = report_of(token_counts, "m", None)
    assert (report["texts"], report["total_tokens"]) == (len(counts), sum(counts))
    assert (report["over_limit"], report["first_over_limit"]) == (len(over), over[:10])
    found = [report[f"{name}_tokens"] for name in ("median", "p95", "max")]
    expected = np.percentile(counts, [50, 95, 100], method="inverted_cdf") if counts else [0] * 3
    assert found == list(expected)
