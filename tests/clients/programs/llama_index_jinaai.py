"""llama-index-embeddings-jinaai: its address is private, so it is set after the fact."""

import contextlib

from llama_index.embeddings.jinaai import JinaEmbedding
from told import MODEL, TEXTS, URL, tell


def embedding(**options: object) -> JinaEmbedding:
    made = JinaEmbedding(api_key="none", model=MODEL, **options)
    made._api.api_url = f"{URL}/v1/embeddings"
    return made


passages = embedding(task="retrieval.passage", dimensions=128)
late = embedding(task="retrieval.passage", late_chunking=True)
queries = embedding(task="retrieval.query")
bits = embedding(task="text-matching", encoding_documents="binary")
unsigned = embedding(task="text-matching", encoding_documents="ubinary")
with contextlib.suppress(RuntimeError):
    embedding(task="no-such-task").get_text_embedding("x")
    raise AssertionError("an unknown task was answered")
assert bits.get_text_embedding_batch(TEXTS) == unsigned.get_text_embedding_batch(TEXTS)
tell(
    ({"task": "retrieval.passage", "dimensions": 128}, passages.get_text_embedding_batch(TEXTS)),
    (
        {"task": "retrieval.passage", "late_chunking": True},
        late.get_text_embedding_batch(TEXTS),
    ),
    (
        {"task": "retrieval.query", "input": TEXTS[:1]},
        [queries.get_query_embedding(TEXTS[0])],
    ),
)
