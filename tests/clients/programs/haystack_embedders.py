"""jina-haystack with base_url, and haystack-ai's OpenAI embedders with api_base_url."""

from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from haystack_integrations.components.embedders.jina import JinaDocumentEmbedder, JinaTextEmbedder
from told import MODEL, TEXTS, URL, tell

key = Secret.from_token("none")
documents = [Document(content=text) for text in TEXTS]
jina = {"api_key": key, "model": MODEL, "base_url": f"{URL}/v1/embeddings"}
openai = {"api_key": key, "model": MODEL, "api_base_url": f"{URL}/v1"}
passages = JinaDocumentEmbedder(**jina, task="retrieval.passage", dimensions=64).run(documents)
query = JinaTextEmbedder(**jina, task="retrieval.query").run(TEXTS[0])
plain = OpenAIDocumentEmbedder(**openai, progress_bar=False).run(documents)
single = OpenAITextEmbedder(**openai, dimensions=32).run(TEXTS[0])
try:
    JinaTextEmbedder(**jina, task="no-such-task").run("x")
except RuntimeError as error:
    assert "unknown task" in str(error)
else:
    raise AssertionError("an unknown task was answered")
tell(
    (
        {"task": "retrieval.passage", "dimensions": 64},
        [each.embedding for each in passages["documents"]],
    ),
    ({"task": "retrieval.query", "input": TEXTS[:1]}, [query["embedding"]]),
    ({}, [each.embedding for each in plain["documents"]]),
    ({"dimensions": 32, "input": TEXTS[:1]}, [single["embedding"]]),
)
