"""The interface of what is evaluated: a checkpoint in this process or a running service.

n texts, D dimensions.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from model.evaluate.errors import EvaluationError
from model.rows import Vectors


class EvaluatedModel(Protocol):
    """Embeds texts and documents.

    `sizes` are the numbers of dimensions to evaluate, the full width first and then downwards;
    `tasks` the names of its tasks; `embeds_without_task` says whether it also embeds without an
    adapter; `facts` describe it in evaluation.json.
    """

    name: str
    sizes: tuple[int, ...]
    tasks: tuple[str, ...]
    embeds_without_task: bool
    facts: dict[str, Any]

    def embed(self, texts: Sequence[str], task: str | None) -> Vectors:
        """Vectors (n, D) float32 of full width. Texts over the model's limit are cut."""
        ...

    def embed_documents(self, documents: Sequence[Sequence[str]], task: str | None) -> Vectors:
        """Vectors (n, D) float32 of all n chunks of documents, by late chunking."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


def checked_sizes(wanted: Sequence[int], sizes: Sequence[int], width: int) -> tuple[int, ...]:
    """The sizes to evaluate: the wanted ones, else the model's Matryoshka sizes; always the width.

    Raises:
        EvaluationError: vectors of `width` dimensions cannot be cut to a wanted size.
    """
    wrong = [size for size in wanted if not 1 <= size <= width]
    if wrong:
        raise EvaluationError(
            f"--dimensions {wrong[0]}: this model's vectors have 1 to {width} dimensions."
        )
    return tuple(sorted({width, *(wanted or sizes)}, reverse=True))
