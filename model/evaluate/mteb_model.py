"""Adapts a checkpoint or a service to the interface of MTEB, the field's benchmark.

    import mteb
    from model.evaluate.inprocess import Checkpoint
    from model.evaluate.mteb_model import Quintet

    mteb.evaluate(Quintet(Checkpoint("model/mini")), mteb.get_tasks(tasks=["STSBenchmark"]))

Needs the extra `mteb`; MTEB fetches its data from the hub. n texts, d dimensions.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction

from model.evaluate.embedding_cache import EmbeddingCache
from model.evaluate.evaluated_model import EvaluatedModel
from model.evaluate.scoring import PASSAGE, QUERY
from model.rows import Vectors

# MTEB's own table for jina-embeddings-v3 (mteb/models/model_implementations/jina_models.py), so
# that figures compare with its leaderboard.
TASKS = {
    "BitextMining": "text-matching",
    "Classification": "classification",
    "Clustering": "separation",
    "MultilabelClassification": "classification",
    "PairClassification": "classification",
    "Reranking": "separation",
    "STS": "text-matching",
    "Summarization": "text-matching",
}


class Quintet(AbsEncoder):  # type: ignore[misc]
    """An encoder for `mteb.evaluate`. Vectors are cut to `size`, by default not at all."""

    def __init__(self, model: EvaluatedModel, size: int | None = None) -> None:
        self.model = model
        self.size = size or model.sizes[0]
        name = f"quintet/{model.name.rstrip('/').rpartition('/')[2]}"
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": name,
                "embed_dim": self.size,
                "similarity_fn_name": ScoringFunction.COSINE,
                "use_instructions": True,
            }
        )

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,  # noqa: ARG002  (the interface's)
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,
        **_: Any,
    ) -> Vectors:
        """Unit vectors (n, d) float32 of all texts of all batches.

        Raises:
            EvaluationError: a service does not answer, or numbers are not finite.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        task = task_of(task_metadata.type, None if prompt_type is None else prompt_type.value)
        return EmbeddingCache(self.model).texts(texts, task, self.size)


def task_of(kind: str, prompt_type: str | None) -> str | None:
    """The task for MTEB's type of task and of prompt ("query", "document" or None).

    A type that TASKS does not have is retrieval where texts are queries or documents, and else is
    embedded without an adapter.
    """
    if kind in TASKS:
        return TASKS[kind]
    return {"query": QUERY, "document": PASSAGE, None: None}[prompt_type]
