"""langchain-community's JinaEmbeddings: its address is a constant of its module."""

from langchain_community.embeddings import jina
from told import MODEL, TEXTS, URL, tell

jina.JINA_API_URL = f"{URL}/v1/embeddings"
embeddings = jina.JinaEmbeddings(jina_api_key="none", model_name=MODEL)
tell(
    ({}, embeddings.embed_documents(TEXTS)),
    ({"input": TEXTS[:1]}, [embeddings.embed_query(TEXTS[0])]),
)
