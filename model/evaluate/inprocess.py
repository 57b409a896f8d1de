"""A checkpoint that is evaluated in this process, without a service. n texts, D dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model import embedder
from model.config import CheckpointError
from model.evaluate.errors import EvaluationError
from model.evaluate.evaluated_model import checked_sizes
from model.hub import locate
from model.rows import Vectors
from model.tokenizer import RowOptions

_DOCUMENT = RowOptions(late_chunking=True, truncate=True)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a checkpoint is loaded: as in embedder.load."""

    device: str = "cpu"
    dtype: str = "auto"
    revision: str | None = None


class Checkpoint:
    """A checkpoint; texts become rows by the same code as in the service."""

    embeds_without_task = True

    def __init__(
        self, model: str, options: LoadOptions = LoadOptions(), sizes: Sequence[int] = ()
    ) -> None:
        """`model` is a folder, a hub id, or quintet-mini.

        Raises:
            EvaluationError: the checkpoint cannot be loaded, or does not have such sizes.
        """
        try:
            self._embedder = embedder.load(
                locate(model, options.revision), options.device, options.dtype
            )
        except CheckpointError as error:
            raise EvaluationError(str(error)) from None
        config = self._embedder.config
        self.name = model
        self.tasks = config.tasks
        self.sizes = checked_sizes(sizes, config.matryoshka_dimensions, config.hidden_size)
        self.facts = {
            "name": model,
            "revision": options.revision,
            "by": "in process",
            "dtype": self._embedder.dtype,
            "width": config.hidden_size,
            "parameters": self._embedder.parameters,
        }

    def embed(self, texts: Sequence[str], task: str | None) -> Vectors:
        """Vectors (n, D) float32."""
        named = self._embedder.tasks.by_name(task)
        inputs = self._embedder.tokenizer.rows(list(texts), named, RowOptions(truncate=True))
        return inputs.vectors(self._embedder.embed(inputs.rows))

    def embed_documents(self, documents: Sequence[Sequence[str]], task: str | None) -> Vectors:
        """Vectors (n, D) float32 of all chunks; a document is one row, or several windows."""
        named, tokenizer = self._embedder.tasks.by_name(task), self._embedder.tokenizer
        inputs = [tokenizer.rows(list(chunks), named, _DOCUMENT) for chunks in documents]
        embedded = self._embedder.embed([row for each in inputs for row in each.rows])
        spans = [sum(len(row.spans) for row in each.rows) for each in inputs]
        parts = np.split(embedded, np.cumsum(spans)[:-1])
        return np.concatenate(
            [each.vectors(part) for each, part in zip(inputs, parts, strict=True)]
        )

    def close(self) -> None:
        """Do nothing: there are no connections."""
