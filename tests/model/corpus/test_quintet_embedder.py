"""QuintetEmbedder: what `map_batches` calls, without Ray. test_run.py has it in a pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from model import embedder
from model.corpus import QuintetEmbedder

TEXTS = ["One text.", "Another one, which is longer."]


@pytest.fixture(scope="module")
def embed(original: Path) -> QuintetEmbedder:
    return QuintetEmbedder(str(original), column="body", dimensions=32, dtype="float32")


def test_a_table_and_arrays_get_the_vectors_of_embed_texts(
    embed: QuintetEmbedder, original: Path
) -> None:
    quintet = embedder.load(original, dtype="float32")
    expected = quintet.embed_texts(TEXTS, "retrieval.passage", dimensions=32)
    table = embed(pa.table({"key": [1, 2], "body": TEXTS}))
    assert table.schema.names == ["key", "body", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 32)
    np.testing.assert_allclose(np.array(table["embedding"].to_pylist()), expected, atol=1e-5)
    arrays = embed({"key": np.array([1, 2]), "body": np.array(TEXTS, object)})
    np.testing.assert_allclose(arrays["embedding"], expected, atol=1e-5)


def test_a_column_of_the_outputs_name_is_replaced(embed: QuintetEmbedder) -> None:
    table = embed(pa.table({"body": TEXTS, "embedding": [1, 2]}))
    assert table.schema.names == ["body", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 32)


@pytest.mark.parametrize("column", [[1], [["a"]], [b"a"], [True]])
def test_a_column_of_another_type_is_a_sentence(embed: QuintetEmbedder, column: list[Any]) -> None:
    with pytest.raises(TypeError, match=r"texts\[0\] is .*, not str"):
        embed(pa.table({"body": column}))


def test_what_is_no_batch_of_texts_is_a_sentence(embed: QuintetEmbedder) -> None:
    with pytest.raises(TypeError, match=r"texts\[1\] is None"):
        embed(pa.table({"body": ["a", None]}))
    with pytest.raises(TypeError, match="batch_format"):
        embed(TEXTS)
    with pytest.raises(ValueError, match=r"texts\[0\] has .* tokens"):
        embed(pa.table({"body": ["bread " * 9000]}))
