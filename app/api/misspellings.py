"""Finds the field that an unknown name in a body is probably a misspelling of."""

from functools import cache

# Names that other libraries have for fields, too different to be found by their letters.
_SYNONYMS = {
    **dict.fromkeys(("dim", "dims", "ndims", "truncatedim", "matryoshkadim"), "dimensions"),
    **dict.fromkeys(("embeddingdim", "embeddingdimension", "embeddingsize"), "dimensions"),
    **dict.fromkeys(("embeddingdimensions", "dimensionality", "outputdim"), "dimensions"),
    **dict.fromkeys(("embedtype", "encoding"), "embedding_type"),
    "overlap": "late_chunking_overlap",
    "params": "parameters",
    **dict.fromkeys(("taskid", "tasklabel", "taskname", "adapter"), "task"),
    **dict.fromkeys(("normalizeembeddings", "normalization"), "normalized"),
    **dict.fromkeys(("latechunk", "latechunks"), "late_chunking"),
    **dict.fromkeys(("chunker", "chunk", "chunks", "chunkingstrategy"), "chunking"),
    **dict.fromkeys(("method", "type", "strategy", "mode", "unit", "splitter"), "by"),
    **dict.fromkeys(("size", "chunksize", "maxchunksize", "limit", "maxlength"), "max_tokens"),
    "chunkoverlap": "overlap",
    **dict.fromkeys(("inputs", "text", "sentences", "documents", "prompt", "data"), "input"),
}
# A longer name is no misspelling, and may be as long as a body: each letter takes time.
_MOST_CHARACTERS = 100


def near(name: str, candidates: frozenset[str]) -> str | None:
    """The candidate that a name is probably a misspelling of."""
    if len(name) > _MOST_CHARACTERS:
        return None
    letters = _letters(name)
    if (synonym := _SYNONYMS.get(letters)) in candidates:
        return synonym
    found = [
        (edits, candidate)
        for candidate, known in _by_letters(candidates)
        if abs(len(letters) - len(known)) <= _most_edits(known)
        and (edits := _edits(letters, known)) <= _most_edits(known)
    ]
    return min(found)[1] if found else None


def _most_edits(known: str) -> int:
    return max(1, len(known) // 4)


@cache
def _by_letters(candidates: frozenset[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, _letters(name)) for name in sorted(candidates))


def _letters(name: str) -> str:
    """lateChunking, late-chunking and LATE_CHUNKING are the same to a reader."""
    return "".join(filter(str.isalnum, name.casefold()))


def _edits(one: str, other: str) -> int:
    """The least number of letters to change, add, leave out or swap with the next: the optimal
    string alignment distance."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
