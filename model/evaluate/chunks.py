"""Groups passages into documents and cuts them into chunks, to measure late chunking.

A document is a run of neighbouring passages of one title, or one passage without a title. Chunks
are sentences; a short one is joined to the next. Sizes are in bytes of UTF-8, of which a token has
four to six in most scripts, so that lengths are alike across languages without a tokenizer.
"""

import re
from collections.abc import Sequence
from itertools import groupby

# About 20 tokens.
SHORTEST_CHUNK_BYTES = 90
# About 1,600 tokens.
LONGEST_DOCUMENT_BYTES = 8000

_SENTENCE_END = re.compile(r"[.!?؟।…]\s+|[。！？；]|\n+")  # noqa: RUF001


def chunks_of(passage: str) -> list[str]:
    """A passage's chunks: whole sentences, none shorter than SHORTEST_CHUNK_BYTES but the only one.

    >>> chunks_of("One. Two.")
    ['One. Two.']
    """
    chunks: list[str] = []
    start = 0
    ends = {match.end() for match in _SENTENCE_END.finditer(passage)} | {len(passage)}
    for end in sorted(ends):
        if len(passage[start:end].encode()) < SHORTEST_CHUNK_BYTES and end < len(passage):
            continue
        chunks.append(passage[start:end])
        start = end
    if len(chunks) > 1 and len(chunks[-1].encode()) < SHORTEST_CHUNK_BYTES:
        last = chunks.pop()
        chunks[-1] += last
    return [chunk.strip() for chunk in chunks if chunk.strip()]


def documents_of(passages: Sequence[str], titles: Sequence[str]) -> list[list[int]]:
    """The passages of each document, as indices in order."""
    documents: list[list[int]] = []
    for title, group in groupby(range(len(passages)), key=lambda index: titles[index]):
        size = LONGEST_DOCUMENT_BYTES
        for index in group:
            length = len(passages[index].encode())
            if not title or size + length > LONGEST_DOCUMENT_BYTES:
                documents.append([])
                size = 0
            documents[-1].append(index)
            size += length
    return documents
