"""openai: change base_url; what Jina adds goes into extra_body."""

import asyncio

from openai import AsyncOpenAI, NotFoundError, OpenAI, UnprocessableEntityError
from told import MODEL, TEXTS, URL, tell

client = OpenAI(base_url=f"{URL}/v1", api_key="none")
asking = {"model": MODEL, "input": TEXTS}
plain = client.embeddings.create(**asking)
floats = client.embeddings.create(**asking, encoding_format="float", dimensions=64)
late = client.embeddings.create(
    **asking, extra_body={"task": "retrieval.passage", "late_chunking": True}
)


async def asynchronous() -> list:
    async with AsyncOpenAI(base_url=f"{URL}/v1", api_key="none") as client:
        answer = await client.embeddings.create(**asking, extra_body={"task": "separation"})
        return [each.embedding for each in answer.data]


for error, wrong in (
    (NotFoundError, {"model": "gpt-4"}),
    (UnprocessableEntityError, {"extra_body": {"task": "retrieval"}}),
):
    try:
        client.embeddings.create(**{**asking, **wrong})
    except error as caught:
        assert caught.body["message"], caught.body
        assert caught.request_id
    else:
        raise AssertionError(f"{wrong} was answered")

assert plain.usage.prompt_tokens == plain.usage.total_tokens > 0
tell(
    ({}, [each.embedding for each in plain.data]),
    ({"dimensions": 64}, [each.embedding for each in floats.data]),
    ({"task": "retrieval.passage", "late_chunking": True}, [e.embedding for e in late.data]),
    ({"task": "separation"}, asyncio.run(asynchronous())),
)
