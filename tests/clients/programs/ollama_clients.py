"""ollama with host, and LlamaIndex's and LangChain's wrappers of it."""

import asyncio

import ollama
from langchain_ollama import OllamaEmbeddings
from llama_index.embeddings.ollama import OllamaEmbedding
from told import MODEL, TEXTS, URL, tell

client = ollama.Client(host=URL)
passages = client.embed(MODEL, TEXTS, options={"task": "retrieval.passage"}, dimensions=64)
assert passages.prompt_eval_count > 0
old = client.embeddings(MODEL, TEXTS[0])
plain = asyncio.run(ollama.AsyncClient(host=URL).embed(MODEL, TEXTS))
assert f"{MODEL}:latest" in [each.model for each in client.list().models]
shown = client.show(MODEL)
assert shown.capabilities == ["embedding"]
assert shown.modelinfo["xlm-roberta.context_length"] == 8192
for status, wrong in ((404, {"model": "bge-m3"}), (400, {"options": {"task": "nope"}})):
    try:
        client.embed(**{"model": MODEL, "input": "x", **wrong})
    except ollama.ResponseError as caught:
        assert caught.status_code == status, caught
        assert "{" not in caught.error, caught
    else:
        raise AssertionError(f"{wrong} was answered")

llama = OllamaEmbedding(MODEL, base_url=URL, ollama_additional_kwargs={"task": "retrieval.passage"})
chain = OllamaEmbeddings(model=MODEL, base_url=URL, validate_model_on_init=True)
tell(
    ({"task": "retrieval.passage", "dimensions": 64}, passages.embeddings),
    ({"input": TEXTS[:1]}, [old.embedding]),
    ({}, plain.embeddings),
    ({"task": "retrieval.passage"}, llama.get_text_embedding_batch(TEXTS)),
    ({}, chain.embed_documents(TEXTS)),
)
