"""The bodies of requests that the tools send, and of the answers they read.

n texts, C chunks of all documents of a request, D dimensions.
"""

import base64
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson

from model.rows import Vectors
from model.unicode import well_formed


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """The fields of a request beside its texts; None leaves a field to the service."""

    model: str | None = None
    task: str | None = None
    dimensions: int | None = None
    late_chunking: bool = False
    late_chunking_overlap: int | None = None
    truncate: bool = False
    chunking: dict[str, Any] | None = None
    service_tier: str | None = None

    def body(self, texts: list[str]) -> bytes:
        """The request's body. Vectors come as base64, which is read without a Python float."""
        # An argument of the command line that is not UTF-8 has lone surrogates.
        given = {
            name: well_formed(value) if isinstance(value, str) else value
            for name, value in asdict(self).items()
            if value
        }
        if self.chunking:
            given["document_embedding"] = False
        return orjson.dumps({"input": texts, "encoding_format": "base64", **given})


@dataclass(frozen=True, slots=True)
class EmbeddedTexts:
    """vectors (n, D) in the order of the texts, the tokens that they took, and their embedding
    space, if the service says it."""

    vectors: Vectors
    tokens: int
    space: str | None = None


@dataclass(frozen=True, slots=True)
class EmbeddedChunks:
    """vectors (C, D); for each the index of its document, and `details`: `chunk`, its number in the
    document, `start` and `end` in code points, and `text`. `space` as above."""

    vectors: Vectors
    documents: list[int]
    details: list[dict[str, Any]]
    tokens: int
    space: str | None = None


def parse_embeddings(body: Any) -> EmbeddedTexts:
    """Parse the body of an answer of POST /v1/embeddings with base64.

    Raises:
        KeyError, TypeError, ValueError: it is not such a body.
    """
    embeddings = sorted(body["data"], key=lambda each: each["index"])
    vectors = np.stack(
        [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in embeddings]
    )
    return EmbeddedTexts(vectors, int(body["usage"]["total_tokens"]))


def parse_chunks(body: dict[str, Any]) -> EmbeddedChunks:
    """Parse the body of an answer of POST /v1/documents with base64.

    Raises:
        KeyError, TypeError, ValueError: it is not such a body.
    """
    vectors, documents, details = [], [], []
    for document in sorted(body["data"], key=lambda each: each["index"]):
        for chunk in document["chunks"]:
            vectors.append(np.frombuffer(base64.b64decode(chunk["embedding"]), "<f4"))
            documents.append(document["index"])
            place = {name: chunk[name] for name in ("start", "end", "text")}
            details.append({"chunk": chunk["index"], **place})
    stacked = np.stack(vectors) if vectors else np.empty((0, 0), np.float32)
    return EmbeddedChunks(stacked, documents, details, int(body["usage"]["total_tokens"]))
