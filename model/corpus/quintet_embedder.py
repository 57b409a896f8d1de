"""QuintetEmbedder: a column of texts -> a column of vectors, in a Ray pipeline of one's own."""

from typing import TYPE_CHECKING, Any

from model.corpus.loaded_model import LoadedModel
from model.rows import Vectors
from model.tasks import PASSAGE_TASK

if TYPE_CHECKING:
    from model.embedder import Embedder

# Which of Ray Data's formats a batch may have.
_FORMATS = 'batch_format="pyarrow" or "numpy"'


class QuintetEmbedder:
    """A loaded model that `Dataset.map_batches` calls with batches, on an actor for each device:

        ds.map_batches(QuintetEmbedder, fn_constructor_kwargs={"column": "text"},
                       batch_size=256, batch_format="pyarrow", num_gpus=1, concurrency=4)

    A batch may have any number of texts: they are put into forward passes by their tokens.
    """

    def __init__(  # noqa: PLR0913  (all go by name)
        self,
        model: str = "quintet-mini",
        *,
        column: str = "text",
        output: str = "embedding",
        task: str = PASSAGE_TASK,
        dimensions: int | None = None,
        truncate: bool = False,
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
        revision: str | None = None,
    ) -> None:
        """`column` has the texts, and `output` will have the vectors; `model`, `device`, `dtype`,
        `threads` and `revision` are as in `embedder.load`, the others as in `embed_texts`.

        Raises:
            CheckpointError: there is no such model or device.
        """

        def load() -> "Embedder":
            from model import embedder  # noqa: PLC0415  (torch)

            return embedder.load(model, device, dtype, threads, revision=revision)

        self._model = LoadedModel(load)
        self._column, self._output = column, output
        self._arguments: dict[str, Any] = {
            "task": task,
            "dimensions": dimensions,
            "truncate": truncate,
            "progress": False,
        }

    def __call__(self, batch: Any) -> Any:
        """The batch, an Arrow table or a dictionary of arrays, with a column of vectors more.

        Raises:
            KeyError: it has no such column.
            TypeError, ValueError: as in `embed_texts`: a text is null, or over the model's limit.
        """
        if isinstance(batch, dict):
            return {**batch, self._output: self._vectors(batch[self._column])}
        from model.vector_table import vector_column  # noqa: PLC0415  (pyarrow)

        if not hasattr(batch, "append_column"):
            raise TypeError(f"a batch must have {_FORMATS}, not be {type(batch).__qualname__}.")
        vectors = self._vectors(batch.column(self._column).to_pylist())
        if self._output in batch.schema.names:  # as in a dictionary, which has one of each name
            batch = batch.drop_columns([self._output])
        return batch.append_column(self._output, vector_column(vectors))

    def _vectors(self, texts: Any) -> Vectors:
        return self._model.run(lambda quintet: quintet.embed_texts(texts, **self._arguments))
