"""Embeds each text once a task, keeps the vectors, and cuts them to the size that is asked for.

n texts, D dimensions, d of them kept.
"""

from collections.abc import Callable, Sequence

import numpy as np

from model.evaluate.errors import EvaluationError
from model.evaluate.evaluated_model import EvaluatedModel
from model.quoting import quoted
from model.rows import Vectors

# Of one call of the model: several full batches, and a progress bar that still moves often.
TEXTS_PER_CALL = 512
DOCUMENTS_PER_CALL = 16

Chunks = Sequence[str]


class EmbeddingCache:
    """The vectors of one model; `on_embedded` is called with the texts and chunks of each call.

    Its methods raise EvaluationError where a number is not finite: no metric of it means anything.
    """

    def __init__(
        self, model: EvaluatedModel, on_embedded: Callable[[Sequence[str]], object] = lambda _: None
    ) -> None:
        self.model = model
        self._on_embedded = on_embedded
        self._texts: dict[str | None, dict[str, Vectors]] = {}
        self._documents: dict[tuple[str | None, tuple[Chunks, ...]], Vectors] = {}

    def texts(self, texts: Sequence[str], task: str | None, size: int) -> Vectors:
        """Unit vectors (n, d) of texts, each embedded by itself."""
        vectors = self._texts.setdefault(task, {})
        # Long ones first, so that batches have rows of like length.
        new = sorted({text for text in texts if text not in vectors}, key=lambda t: (-len(t), t))
        for start in range(0, len(new), TEXTS_PER_CALL):
            batch = new[start : start + TEXTS_PER_CALL]
            embedded = self._checked(self.model.embed(batch, task), batch)
            vectors.update(zip(batch, embedded, strict=True))
            self._on_embedded(batch)
        return unit(np.stack([vectors[text] for text in texts]), size)

    def documents(self, documents: Sequence[Chunks], task: str | None, size: int) -> Vectors:
        """Unit vectors (n, d) of the chunks of all documents, by late chunking."""
        key = (task, tuple(map(tuple, documents)))
        if key not in self._documents:
            vectors = []
            for start in range(0, len(documents), DOCUMENTS_PER_CALL):
                batch = documents[start : start + DOCUMENTS_PER_CALL]
                chunks = [chunk for each in batch for chunk in each]
                vectors.append(self._checked(self.model.embed_documents(batch, task), chunks))
                self._on_embedded(chunks)
            self._documents[key] = np.concatenate(vectors)
        return unit(self._documents[key], size)

    def _checked(self, vectors: Vectors, texts: Sequence[str]) -> Vectors:
        if len(bad := np.flatnonzero(~np.isfinite(vectors).all(axis=1))):
            raise EvaluationError(
                f"the numbers of {self.model.name} for {quoted(texts[bad[0]])} are not finite."
            )
        return vectors


def unit(vectors: Vectors, size: int) -> Vectors:
    """Cut vectors (n, D) to (n, size) and scale them to length 1."""
    cut = vectors[:, :size]
    scaled: Vectors = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    return scaled
