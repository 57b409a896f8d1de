"""Paths of requests: the route that one stands for, and what an unknown one probably means."""

import re
from collections.abc import Collection
from difflib import get_close_matches

# In place of /v1: OpenAI clients whose base URL has none, and Azure's clients.
_BASES = ("/openai/v1", "/openai", "")
# Pages, whose links are relative to their address.
_PAGES = ("/", "/docs/")
_MAX_LENGTH = 100
_SIMILARITY = 0.7


def canonical(path: str) -> str:
    """The path of the route that a caller means: with a slash at its end, or without /v1."""
    if path.endswith("/") and not path.endswith("//") and path not in _PAGES:
        path = path[:-1]
    for base in _BASES:
        rest = path.removeprefix(base)
        of_v1 = rest in ("/embeddings", "/models") or rest.startswith("/models/")
        if of_v1 and path == base + rest:
            return "/v1" + rest
    return path


def suggested(path: str, known: Collection[str]) -> str | None:
    """The known path that is probably meant by one that does not exist."""
    asked = re.sub("/+", "/", path).lower()
    if len(asked) > _MAX_LENGTH:
        return None
    for each in sorted(known, key=len, reverse=True):
        if asked.endswith(each):  # /api/v1/embeddings, /v1/v1/embeddings
            return each
    last = "/" + asked.rpartition("/")[2]
    short = {name[name.rindex("/") :]: name for name in known}
    for tried, among in ((asked, {name: name for name in known}), (last, short)):
        if close := get_close_matches(tried, among, n=1, cutoff=_SIMILARITY):
            return among[close[0]]
    return None
