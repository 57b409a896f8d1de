"""huggingface_hub with the service's address as the model, and LlamaIndex's client of
text-embeddings-inference. LangChain's takes no address."""

import asyncio

from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from told import MODEL, TEXTS, URL, tell

client = InferenceClient(model=URL)
query = client.feature_extraction(TEXTS[0], prompt_name="retrieval.query")
options = {"prompt_name": "separation", "dimensions": 64, "normalize": True, "truncate": True}
groups = client.feature_extraction(TEXTS, **options, model=f"{URL}/embed")
plain = asyncio.run(AsyncInferenceClient(model=URL).feature_extraction(TEXTS))
try:
    client.feature_extraction("x", prompt_name="no-such-task")
except HfHubHTTPError as caught:
    assert caught.response.status_code == 422
    assert caught.response.json()["error_type"] == "Validation"
else:
    raise AssertionError("an unknown prompt was answered")

llama = TextEmbeddingsInference(MODEL, base_url=URL, query_instruction="")
tell(
    ({"task": "retrieval.query", "input": TEXTS[:1]}, query.tolist()),
    ({"task": "separation", "dimensions": 64}, groups.tolist()),
    ({}, plain.tolist()),
    ({}, llama.get_text_embedding_batch(TEXTS)),
)
