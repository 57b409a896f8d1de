"""The summary of token counts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.tools.token_counts import TokenCounts, TokenReport


@given(st.lists(st.integers(0, 50)), st.integers(0, 50))
def test_the_percentiles_are_numpys(counts: list[int], limit: int) -> None:
    token_counts = TokenCounts(limit)
    for number, tokens in enumerate(counts):
        token_counts.add(number, tokens)
    over = [number for number, tokens in enumerate(counts) if tokens > limit]
    report = TokenReport.of(token_counts, "m", None)
    assert (report.texts, report.total_tokens) == (len(counts), sum(counts))
    assert (report.over_limit, report.first_over_limit) == (len(over), over[:10])
    found = [report.median_tokens, report.p95_tokens, report.max_tokens]
    expected = np.percentile(counts, [50, 95, 100], method="inverted_cdf") if counts else [0] * 3
    assert found == list(expected)
