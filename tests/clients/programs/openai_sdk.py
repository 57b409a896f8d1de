"""openai: change base_url; what Jina adds goes into extra_body."""

import asyncio
import json
import time

from openai import AsyncOpenAI, ConflictError, NotFoundError, OpenAI, UnprocessableEntityError
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

# Batch jobs, where the service has them.
lines = [
    {"custom_id": f"c{n}", "method": "POST", "url": "/v1/embeddings", "body": {"input": text}}
    for n, text in enumerate(TEXTS)
]
content = "\n".join(map(json.dumps, lines)).encode()
file = client.files.create(file=("in.jsonl", content), purpose="batch")
assert client.files.retrieve(file.id).bytes == len(content)
assert client.files.content(file.id).read() == content
job = client.batches.create(
    input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h", metadata={"a": "b"}
)
while job.status not in ("completed", "failed", "expired", "cancelled"):
    time.sleep(0.1)
    job = client.batches.retrieve(job.id)
assert (job.status, job.request_counts.completed) == ("completed", len(TEXTS)), job
assert job.metadata == {"a": "b"}
assert job.id in [each.id for each in client.batches.list(limit=1)]
answers = [json.loads(line) for line in client.files.content(job.output_file_id).text.splitlines()]
batched = [each["response"]["body"]["data"][0]["embedding"] for each in answers]
assert file.id in [each.id for each in client.files.list(purpose="batch")]
try:
    client.batches.cancel(job.id)
except ConflictError as caught:
    assert "nothing to cancel" in caught.body["message"]
else:
    raise AssertionError("a job that had ended was cancelled")
assert client.files.delete(file.id).deleted

assert plain.usage.prompt_tokens == plain.usage.total_tokens > 0
tell(
    ({}, batched),
    ({}, [each.embedding for each in plain.data]),
    ({"dimensions": 64}, [each.embedding for each in floats.data]),
    ({"task": "retrieval.passage", "late_chunking": True}, [e.embedding for e in late.data]),
    ({"task": "separation"}, asyncio.run(asynchronous())),
)
