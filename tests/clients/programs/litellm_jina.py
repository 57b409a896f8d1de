"""litellm: jina_ai/ for Jina's fields, openai/ for OpenAI's, both with api_base."""

import told
from told import MODEL, TEXTS, URL, tell

import litellm  # isort: skip  (told sets its environment)

asking = {"input": TEXTS, "api_base": f"{URL}/v1", "api_key": "none"}
jina = litellm.embedding(f"jina_ai/{MODEL}", **asking, task="classification", dimensions=32)
openai = litellm.embedding(f"openai/{MODEL}", **asking, extra_body={"task": "retrieval.query"})
assert told.MODEL
tell(
    ({"task": "classification", "dimensions": 32}, [each["embedding"] for each in jina.data]),
    ({"task": "retrieval.query"}, [each["embedding"] for each in openai.data]),
)
