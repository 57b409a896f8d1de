"""Embedding: parts of rows -> parts of vectors, on an actor for each device, and which embedding
space they are in."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from model.config import EncoderConfig, read_config
from model.corpus.errors import CorpusError
from model.corpus.loaded_model import LoadedModel
from model.corpus.options import CorpusOptions, ModelOptions
from model.corpus.reading import FAILED, PART, failure
from model.corpus.tokenizing import rows_of, vectors_of
from model.fingerprint import fingerprint
from model.hub import locate
from model.rows import normalised
from model.spaces import Space, Spaces
from model.tasks import Task, Tasks
from model.tokenizer import Tokenizer
from model.vector_table import schema_of, vector_column

if TYPE_CHECKING:
    from model.embedder import Embedder


def space_of(folder: Path, config: EncoderConfig, task: Task, *, chunked: bool) -> Space:
    """The embedding space of the vectors that the checkpoint in `folder` gives."""
    tokenizer = Tokenizer(folder, config)
    spaces = Spaces(
        fingerprint(folder, config), Tasks(config), lambda text: tokenizer.ids([text])[0].tolist()
    )
    return spaces.of(task, late_chunking=chunked)


class EmbedParts:
    """Embeds parts, for `map_batches` with Arrow tables of one row. It holds the model, on one
    device, and refuses one whose vectors would be in another space than `space`: nodes of a
    cluster may have different checkpoints under one name."""

    def __init__(
        self, model: ModelOptions, options: CorpusOptions, space: str, device: str, threads: int
    ) -> None:
        folder = locate(model.model, model.revision)
        config = read_config(folder)
        task = Tasks(config).by_argument(options.task)
        own = space_of(folder, config, task, chunked=options.chunks is not None)
        if str(own) != space:
            raise CorpusError(
                f"{folder} on this node gives vectors of the embedding space {own}, and where the "
                f"command runs of {space}: put one checkpoint onto all nodes."
            )

        def load() -> "Embedder":
            from model import embedder  # noqa: PLC0415  (torch)

            return embedder.load(folder, device, model.dtype, threads)

        self._model = LoadedModel(load)
        self._adapter = task.adapter
        self._tokens = model.max_batch_tokens
        self._dimensions = options.dimensions

    def __call__(self, part: Any) -> Any:
        rows = rows_of(part, self._adapter)
        embedded = self._model.run(lambda quintet: quintet.embed(rows, self._tokens))
        vectors = vectors_of(part, embedded)
        outputs = part.column("outputs")[0].values
        failed = part.column("failed")[0].as_py()
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            rows_of_outputs = outputs.field("row").to_numpy()
            bad = dict(
                zip(
                    rows_of_outputs[~finite].tolist(),
                    outputs.field("id").filter(pa.array(~finite)).to_pylist(),
                    strict=True,
                )
            )
            sentence = f"the model's numbers are not finite in {self._model.dtype}."
            failed += [failure(row, name, sentence) for row, name in bad.items()]
            kept = ~np.isin(rows_of_outputs, [*bad])
            vectors, outputs = vectors[kept], outputs.filter(pa.array(kept))
        unit = normalised(vectors[:, : self._dimensions])  # cut first: cutting shortens a vector
        place = {name: part.column(name) for name in (*PART, "tokens")}
        return pa.table(
            {
                **place,
                "failed": pa.array([failed], FAILED["failed"]),
                "outputs": _one_list(outputs),
                "vectors": _one_list(vector_column(unit)),
            }
        )


def _one_list(values: Any) -> Any:
    """An array as the only item of a column."""
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)


def output_batch(part: Any, fields: dict[str, Any]) -> Any:
    """The rows of the output that an embedded part has, as a record batch."""
    outputs, vectors = part.column("outputs")[0].values, part.column("vectors")[0].values
    columns = [outputs.field(name) for name in fields]
    return pa.record_batch([*columns, vectors], schema=schema_of(fields, vectors.type.list_size))
