"""Vector tables: vectors with their ids in Arrow and Parquet, as `quintet embed` and `quintet
corpus` write them. It needs pyarrow, an optional dependency.

n rows, D dimensions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.rows import Vectors

EMBEDDING = "embedding"
# Rows of one group in a Parquet file: at full width some 32 MiB, which is what readers like.
_GROUP_ROWS = 8192


def fields_of(*, chunked: bool, space: bool = False, text: bool = True) -> dict[str, Any]:
    """The columns beside the vectors, with their types: `id`, of chunks `chunk`, `start`, `end` and
    `text`, and `embedding_space`."""
    numbers = {name: pa.int64() for name in ("chunk", "start", "end")} if chunked else {}
    texts = {"text": pa.string()} if chunked and text else {}
    spaces = {"embedding_space": pa.string()} if space else {}
    return {"id": pa.string(), **numbers, **texts, **spaces}


def schema_of(fields: Mapping[str, Any], dimensions: int) -> Any:
    """The columns `fields`, and `embedding`, a fixed-size list of D float32."""
    return pa.schema([*fields.items(), (EMBEDDING, pa.list_(pa.float32(), dimensions))])


def vector_column(vectors: Vectors) -> Any:
    """Vectors (n, D) as an array of fixed-size lists."""
    numbers = pa.array(vectors.reshape(-1), pa.float32())
    return pa.FixedSizeListArray.from_arrays(numbers, vectors.shape[1])


def batch_of(rows: Sequence[Mapping[str, Any]], vectors: Vectors, schema: Any) -> Any:
    """Rows, one for each of the vectors (n, D), as a record batch of `schema`."""
    columns = [
        pa.array([row.get(field.name) for row in rows], field.type)
        for field in schema
        if field.name != EMBEDDING
    ]
    return pa.record_batch([*columns, vector_column(vectors)], schema=schema)


class GroupWriter:
    """A Parquet file that gets batches of any size, and has groups of a good size for readers."""

    def __init__(self, file: Any, schema: Any) -> None:
        # Numbers of vectors hardly repeat, so that a dictionary of them is built for nothing.
        names = [field.name for field in schema if field.name != EMBEDDING]
        self._parquet = pq.ParquetWriter(file, schema, use_dictionary=names)
        self._batches: list[Any] = []

    def __enter__(self) -> "GroupWriter":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._write_group()
        finally:
            self._parquet.close()

    def write(self, batch: Any) -> None:
        """Add a batch, which may be written later."""
        self._batches.append(batch)
        if sum(map(len, self._batches)) >= _GROUP_ROWS:
            self._write_group()

    def say(self, metadata: Mapping[str, str]) -> None:
        """Add to what the file says of itself."""
        self._parquet.add_key_value_metadata(dict(metadata))

    def _write_group(self) -> None:
        if self._batches:
            self._parquet.write_table(pa.Table.from_batches(self._batches))
            self._batches.clear()
