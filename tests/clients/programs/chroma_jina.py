"""chromadb's Jina function: its address is private, so it is set after the fact."""

from told import MODEL, TEXTS, URL, tell

from chromadb.utils.embedding_functions import JinaEmbeddingFunction  # isort: skip


def function(**options: object) -> JinaEmbeddingFunction:
    made = JinaEmbeddingFunction(model_name=MODEL, **options)
    made._api_url = f"{URL}/v1/embeddings"
    return made


late = {"task": "retrieval.passage", "late_chunking": True, "dimensions": 128}
everything = function(**late, truncate=True, embedding_type="float", normalized=True)
raw = function(task="retrieval.passage", normalized=False)
tell(
    (late, everything(TEXTS)),
    ({"task": "retrieval.passage", "normalized": False}, raw(TEXTS)),
)
