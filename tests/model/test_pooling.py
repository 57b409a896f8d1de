"""Pooling against a slow and obvious loop."""

import torch
from hypothesis import given

from model.packing import pack
from model.pooling import mean_over_spans
from tests.model.test_packing import CPU, packed_order, random_rows, seeds


@given(seeds)
def test_a_vector_is_the_mean_of_its_span(seed: int) -> None:
    rows = random_rows(seed)
    batch = pack(rows, CPU)
    hidden = torch.randn(len(batch.token_ids), 6, generator=torch.Generator().manual_seed(seed))
    start_of = {}
    for row, start in zip(packed_order(rows), batch.row_starts.tolist(), strict=False):
        start_of[id(row)] = start
    expected = [
        hidden[start_of[id(row)] + start : start_of[id(row)] + stop].mean(dim=0)
        for row in rows
        for start, stop in row.spans.tolist()
    ]
    torch.testing.assert_close(mean_over_spans(hidden, batch.spans), torch.stack(expected))
