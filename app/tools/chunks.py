"""Chunks: `quintet embed --chunk`: records are documents, and their chunks get the vectors.

C chunks of all documents of a request, D dimensions.
"""

import argparse
import base64
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.tools.errors import ToolError
from model.rows import Vectors

WAYS = ("sentences", "markdown", "tokens")
_SIZES = ("max_tokens", "min_tokens", "overlap")
_TOLD = ("start", "end", "text")


@dataclass(frozen=True, slots=True)
class Chunked:
    """vectors (C, D); for each the index of its document and what is told of it: `chunk`, its
    number in the document, `start` and `end` in code points, and `text`."""

    vectors: Vectors
    documents: list[int]
    told: list[dict[str, Any]]
    tokens: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `chunking_of` reads."""
    add = parser.add_argument
    add("--chunk", choices=WAYS, help="read each record as a document and write its chunks")
    add("--max-tokens", type=int, metavar="N", help="of a chunk, 256")
    add("--min-tokens", type=int, metavar="N", help="0 fills chunks, 1 is a chunk a sentence")
    add("--overlap", type=int, metavar="N", help="tokens of the chunk before that a chunk repeats")


def chunking_of(options: argparse.Namespace) -> dict[str, Any] | None:
    """The request's `chunking`; the service judges its numbers.

    Raises:
        ToolError: options that do not go together.
    """
    sizes = {name: getattr(options, name) for name in _SIZES if getattr(options, name) is not None}
    if options.chunk is None:
        if sizes:
            raise ToolError(f"--{next(iter(sizes)).replace('_', '-')} goes with --chunk.")
        return None
    for name in ("late_chunking", "truncate"):
        if getattr(options, name):
            raise ToolError(
                f"--{name.replace('_', '-')} does not go with --chunk, which reads each record as "
                "one document, whole."
            )
    return {"by": options.chunk, **sizes}


def chunked(body: dict[str, Any]) -> Chunked:
    """What an answer of POST /v1/documents with base64 says.

    Raises:
        KeyError, TypeError, ValueError: it is another answer.
    """
    vectors, owners, told = [], [], []
    for document in sorted(body["data"], key=lambda each: each["index"]):
        for chunk in document["chunks"]:
            vectors.append(np.frombuffer(base64.b64decode(chunk["embedding"]), "<f4"))
            owners.append(document["index"])
            told.append({"chunk": chunk["index"], **{name: chunk[name] for name in _TOLD}})
    stacked = np.stack(vectors) if vectors else np.empty((0, 0), np.float32)
    return Chunked(stacked, owners, told, int(body["usage"]["total_tokens"]))
