"""voyageai with base_url. LlamaIndex's and LangChain's wrappers fetch a tokenizer by the model's
name, so that they know Voyage's models only."""

import asyncio

import voyageai
from told import MODEL, TEXTS, URL, tell

options = {"api_key": "none", "base_url": f"{URL}/v1"}
client = voyageai.Client(**options)
documents = client.embed(TEXTS, model=MODEL, input_type="document", output_dimension=64)
plain = client.embed(TEXTS, model=MODEL)
bits = client.embed(TEXTS, model=MODEL, input_type="document", output_dtype="ubinary")
assert documents.total_tokens == plain.total_tokens > 0
assert all(0 <= number < 256 for number in bits.embeddings[0])
whole = client.embed(TEXTS, model=MODEL, input_type="document", output_dtype="int8")
assert [max(map(abs, each)) for each in whole.embeddings] == [127] * len(TEXTS)
cut = client.embed(["a " * 9000], model=MODEL, input_type="query")
assert cut.total_tokens < 9000
for error, wrong in (
    (voyageai.error.MalformedRequestError, {"input_type": "image"}),
    (voyageai.error.MalformedRequestError, {"output_dtype": "uint8"}),
    (voyageai.error.InvalidRequestError, {"truncation": False}),
):
    try:
        client.embed(["a " * 9000], model=MODEL, **wrong)
    except error as caught:
        assert caught.user_message, caught
    else:
        raise AssertionError(f"{wrong} was answered")
queries = asyncio.run(voyageai.AsyncClient(**options).embed(TEXTS, MODEL, input_type="query"))
tell(
    ({"task": "retrieval.passage", "dimensions": 64}, documents.embeddings),
    ({}, plain.embeddings),
    ({"task": "retrieval.query"}, queries.embeddings),
)
