"""cohere with base_url, both versions of its API; LlamaIndex's and LangChain's wrappers of it."""

import asyncio

import cohere
from langchain_cohere import CohereEmbeddings
from llama_index.embeddings.cohere import CohereEmbedding
from told import MODEL, TEXTS, URL, tell

# LlamaIndex knows Cohere's names only: the service has this one by EMBED_SERVED_MODEL_NAMES.
NAME = "embed-multilingual-v3.0"
client = cohere.ClientV2(api_key="none", base_url=URL)
asking = {"texts": TEXTS, "model": MODEL, "input_type": "clustering"}
answer = client.embed(**asking, embedding_types=["float", "ubinary", "int8"], output_dimension=64)
assert answer.meta.billed_units.input_tokens > 0
assert len(answer.embeddings.ubinary[0]) == 8
assert max(map(abs, answer.embeddings.int8[0])) == 127
old = cohere.Client(api_key="none", base_url=URL)
floats = old.embed(texts=TEXTS, model=MODEL, input_type="search_query")
by_type = old.embed(**asking, embedding_types=["float"])


async def asynchronous() -> list:
    async with cohere.AsyncClientV2(api_key="none", base_url=URL) as client:
        asked = {**asking, "input_type": "classification", "embedding_types": ["float"]}
        return (await client.embed(**asked)).embeddings.float_


for error, wrong in (
    (cohere.NotFoundError, {"model": "embed-v4.0"}),
    (cohere.BadRequestError, {"input_type": "image"}),
):
    try:
        client.embed(**{**asking, **wrong}, embedding_types=["float"])
    except error as caught:
        assert caught.body["message"], caught.body
    else:
        raise AssertionError(f"{wrong} was answered")

llama = CohereEmbedding(api_key="none", base_url=URL, model_name=NAME)
chain = CohereEmbeddings(cohere_api_key="none", base_url=URL, model=MODEL)
query = {"task": "retrieval.query", "input": TEXTS[:1]}
tell(
    ({"task": "separation", "dimensions": 64}, answer.embeddings.float_),
    ({"task": "retrieval.query"}, floats.embeddings),
    ({"task": "separation"}, by_type.embeddings.float_),
    ({"task": "classification"}, asyncio.run(asynchronous())),
    ({"task": "retrieval.passage"}, llama.get_text_embedding_batch(TEXTS)),
    (query, [llama.get_query_embedding(TEXTS[0])]),
    ({"task": "retrieval.passage"}, chain.embed_documents(TEXTS)),
    (query, [chain.embed_query(TEXTS[0])]),
)
