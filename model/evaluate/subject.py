"""Subject: what is evaluated, a checkpoint in this process or a running service.

n texts, D dimensions.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from model.evaluate.errors import EvaluationError
from model.rows import Vectors


class Subject(Protocol):
    """Texts in, vectors out.

    `sizes` are its Matryoshka sizes, the width first and then downwards; `tasks` are the names of
    its tasks; `has_none` says whether it also reads without an adapter. `facts` describe it in the
    JSON file.
    """

    name: str
    sizes: tuple[int, ...]
    tasks: tuple[str, ...]
    has_none: bool
    facts: dict[str, Any]

    def embed(self, texts: Sequence[str], task: str | None) -> Vectors:
        """Vectors (n, D) float32 of full width. What is over the model's limit is cut off."""
        ...

    def embed_documents(self, documents: Sequence[Sequence[str]], task: str | None) -> Vectors:
        """Vectors (n, D) of all n chunks of documents, each read as a whole: late chunking."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def checked_sizes(wanted: Sequence[int], sizes: Sequence[int], width: int) -> tuple[int, ...]:
    """The sizes to evaluate: the wanted ones, else the model's own; the width always.

    Raises:
        EvaluationError: a wanted size is none that a vector can be cut to.
    """
    wrong = [size for size in wanted if not 1 <= size <= width]
    if wrong:
        raise EvaluationError(
            f"--dimensions {wrong[0]}: this model's vectors have 1 to {width} dimensions."
        )
    return tuple(sorted({width, *(wanted or sizes)}, reverse=True))
