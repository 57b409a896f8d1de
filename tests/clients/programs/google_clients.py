"""google-genai with base_url, and LlamaIndex's and LangChain's wrappers of it."""

import asyncio

from google import genai
from google.genai import errors
from langchain_google_genai import GoogleGenerativeAIEmbeddings
from llama_index.embeddings.google_genai import GoogleGenAIEmbedding
from told import MODEL, TEXTS, URL, tell

client = genai.Client(api_key="none", http_options={"base_url": URL})


def embedded(**config: object) -> list:
    asked = {"model": MODEL, "contents": TEXTS, "config": config or None}
    return [each.values for each in client.models.embed_content(**asked).embeddings]


async def asynchronous() -> list:
    config = {"task_type": "CLASSIFICATION"}
    answer = await client.aio.models.embed_content(model=MODEL, contents=TEXTS, config=config)
    return [each.values for each in answer.embeddings]


for code, wrong in (
    (400, {"config": {"task_type": "QUESTION_ANSWERING"}}),
    (404, {"model": "gemini-embedding-001"}),
):
    try:
        client.models.embed_content(**{"model": MODEL, "contents": "x", **wrong})
    except errors.ClientError as caught:
        assert caught.code == code, caught
        assert caught.message, caught
        assert caught.status in ("INVALID_ARGUMENT", "NOT_FOUND"), caught
    else:
        raise AssertionError(f"{wrong} was answered")

llama = GoogleGenAIEmbedding(MODEL, api_key="none", http_options={"base_url": URL})
chain = GoogleGenerativeAIEmbeddings(model=MODEL, google_api_key="none", base_url=URL)
query = {"task": "retrieval.query", "input": TEXTS[:1]}
tell(
    (
        {"task": "separation", "dimensions": 64},
        embedded(task_type="CLUSTERING", output_dimensionality=64),
    ),
    ({}, embedded()),
    ({"task": "classification"}, asyncio.run(asynchronous())),
    ({"task": "retrieval.passage"}, llama.get_text_embedding_batch(TEXTS)),
    (query, [llama.get_query_embedding(TEXTS[0])]),
    ({"task": "retrieval.passage"}, chain.embed_documents(TEXTS)),
    (query, [chain.embed_query(TEXTS[0])]),
)
