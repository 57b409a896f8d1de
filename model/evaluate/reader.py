"""Reader: every text is embedded once a task; sizes are cut from that, then normalised.

n texts, D dimensions, d of them kept.
"""

from collections.abc import Callable, Sequence

import numpy as np

from model.evaluate.subject import Subject
from model.rows import Vectors

# Texts that are asked for at once: enough for several full batches, few enough for a lively bar.
TEXTS_AT_ONCE = 512
DOCUMENTS_AT_ONCE = 16

Chunks = Sequence[str]


class Reader:
    """Embeds with one subject, and keeps what it embedded until `forget`.

    `note` is told of texts and chunks that are embedded.
    """

    def __init__(
        self, subject: Subject, note: Callable[[Sequence[str]], None] = lambda _: None
    ) -> None:
        self.subject = subject
        self._note = note
        self._texts: dict[str | None, dict[str, Vectors]] = {}
        self._documents: dict[tuple[str | None, tuple[Chunks, ...]], Vectors] = {}

    def forget(self) -> None:
        """Let go of all vectors."""
        self._texts.clear()
        self._documents.clear()

    def texts(self, texts: Sequence[str], task: str | None, size: int) -> Vectors:
        """Unit vectors (n, d) of texts, each read by itself."""
        known = self._texts.setdefault(task, {})
        # Long ones first, so that batches have rows of like length.
        new = sorted({text for text in texts if text not in known}, key=lambda t: (-len(t), t))
        for start in range(0, len(new), TEXTS_AT_ONCE):
            batch = new[start : start + TEXTS_AT_ONCE]
            known.update(zip(batch, self.subject.embed(batch, task), strict=True))
            self._note(batch)
        return unit(np.stack([known[text] for text in texts]), size)

    def documents(self, documents: Sequence[Chunks], task: str | None, size: int) -> Vectors:
        """Unit vectors (n, d) of the chunks of all documents, each read with its document."""
        key = (task, tuple(map(tuple, documents)))
        if key not in self._documents:
            vectors = []
            for start in range(0, len(documents), DOCUMENTS_AT_ONCE):
                batch = documents[start : start + DOCUMENTS_AT_ONCE]
                vectors.append(self.subject.embed_documents(batch, task))
                self._note([chunk for chunks in batch for chunk in chunks])
            self._documents[key] = np.concatenate(vectors)
        return unit(self._documents[key], size)


def unit(vectors: Vectors, size: int) -> Vectors:
    """Cut vectors (n, D) to (n, size) and scale them to length 1."""
    cut = vectors[:, :size]
    scaled: Vectors = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    return scaled
