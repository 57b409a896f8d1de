"""Long late chunking against the reference's recipe, spelled out on the encoder's hidden states."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import embedder
from model.embedder import Embedder
from model.packing import pack
from model.rows import Row
from model.tokenizer import RowOptions, TooManyTokensError
from model.windows import windows
from tests.checkpoints import MINI
from tests.conftest import random_row


@pytest.fixture(scope="module")
def small(original: Path) -> Embedder:
    return embedder.load(original, "cpu", "float32")


def reference(loaded: Embedder, document: Row, size: int, overlap: int) -> np.ndarray:
    """jina-ai/late-chunking: run each slice, drop the first `overlap` states of all but the first
    window, concatenate, pool."""
    states = []
    for start in range(0, len(document), size - overlap):
        ids = document.token_ids[start : start + size]
        with torch.inference_mode():
            hidden = loaded.encoder(
                pack([Row.single_span(ids, document.adapter)], loaded.device)
            ).numpy()
        states.append(hidden[overlap if start else 0 :])
    hidden = np.concatenate(states)
    assert len(hidden) == len(document)
    return np.stack([hidden[start:stop].mean(axis=0) for start, stop in document.spans])


@pytest.mark.parametrize(("size", "overlap"), [(64, 0), (64, 10), (64, 32), (50, 49), (300, 7)])
def test_windows_give_the_references_vectors(
    small: Embedder, rng: np.random.Generator, size: int, overlap: int
) -> None:
    document = random_row(rng, int(rng.integers(70, 290)), 3, spans=9)
    rows, parts = windows(document, size, overlap)
    assert max(map(len, rows)) <= size
    found = parts.joined(small.embed(rows))
    np.testing.assert_allclose(found, reference(small, document, size, overlap), atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.data())
def test_every_token_of_a_span_is_pooled_once(seed: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    rng = np.random.default_rng(seed)
    document = random_row(rng, int(rng.integers(2, 150)), None, int(rng.integers(2, 9)))
    _, parts = windows(document, size, overlap)
    tokens = np.bincount(parts.span, parts.tokens)
    np.testing.assert_array_equal(tokens, document.spans[:, 1] - document.spans[:, 0])


def test_a_document_that_fits_is_read_whole_and_a_longer_one_in_windows() -> None:
    mini = embedder.load(MINI, "cpu")
    task = mini.tasks.by_name("retrieval.passage")
    reading = RowOptions(late_chunking=True, overlap=256, max_document_tokens=20_000)
    fits = mini.tokenizer.rows(["a " * 8192], task, reading)
    assert (len(fits.rows), fits.parts) == (1, None)
    longer = mini.tokenizer.rows(["a " * 8192, "b", "c " * 11_807], task, reading)
    assert len(longer.rows) == 3
    assert longer.tokens == 20_002
    assert max(map(len, longer.rows)) == len(fits.rows[0])
    with pytest.raises(TooManyTokensError, match="at most 20000 tokens; these 3 inputs have 20001"):
        mini.tokenizer.rows(["a " * 8192, "b", "c " * 11_808], task, reading)
