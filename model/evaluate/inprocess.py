"""In process: a checkpoint that is evaluated without a service. n texts, D dimensions."""

from collections.abc import Sequence

from model import embedder
from model.config import CheckpointError
from model.evaluate.errors import EvaluationError
from model.evaluate.subject import checked_sizes
from model.rows import Vectors
from model.sources import locate
from model.tokenizer import Reading

# As the service's windows for a document that is longer than the model reads.
OVERLAP = 256
MAX_DOCUMENT_TOKENS = 131072


class Checkpoint:
    """A checkpoint, loaded here. Its texts become rows by the same code as the service's."""

    has_none = True

    def __init__(
        self, model: str, device: str = "cpu", dtype: str = "auto", sizes: Sequence[int] = ()
    ) -> None:
        """`model` is a folder, a hub id, or quintet-mini; device and dtype as embedder.load's.

        Raises:
            EvaluationError: the checkpoint cannot be loaded, or does not have such sizes.
        """
        try:
            self._embedder = embedder.load(locate(model), device, dtype)
        except CheckpointError as error:
            raise EvaluationError(str(error)) from None
        config = self._embedder.config
        self.name = model
        self.tasks = config.tasks
        self.sizes = checked_sizes(sizes, config.matryoshka_dimensions, config.hidden_size)
        self.facts = {
            "name": model,
            "by": "in process",
            "dtype": self._embedder.dtype,
            "width": config.hidden_size,
            "parameters": self._embedder.parameters,
        }

    def embed(self, texts: Sequence[str], task: str | None) -> Vectors:
        """Vectors (n, D) float32."""
        return self._vectors(texts, task, Reading(truncate=True))

    def embed_document(self, chunks: Sequence[str], task: str | None) -> Vectors:
        """Vectors (n, D) float32 of chunks that are read as one document."""
        reading = Reading(
            late_chunking=True,
            truncate=True,
            overlap=OVERLAP,
            max_document_tokens=MAX_DOCUMENT_TOKENS,
        )
        return self._vectors(chunks, task, reading)

    def close(self) -> None:
        """Nothing to let go of."""

    def _vectors(self, texts: Sequence[str], task: str | None, reading: Reading) -> Vectors:
        named = self._embedder.tasks.named(task)
        inputs = self._embedder.tokenizer.rows(list(texts), named, reading)
        return inputs.vectors(self._embedder.embed(inputs.rows))
