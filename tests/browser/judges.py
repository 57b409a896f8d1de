"""numpy judges the lists of an ask, from answers asked for directly."""

import re

import numpy as np

from tests.browser.playground import Playground, chunks, vectors


def expected(playground: Playground, late: bool, size: int | None = None) -> list[tuple]:
    """Rank, words and similarity of all chunks, from the requests that the page sent."""
    question = next(body for body in playground.said() if body["task"] == "retrieval.query")
    asked = [
        body
        for body in playground.said("documents")
        if body["task"] == "retrieval.passage" and body["late_chunking"] is late
    ]
    texts, found = chunks(playground.service, asked[0])
    query = vectors(playground.service, question)[0][:size]
    found = found[:, :size]
    scores = found @ query / np.linalg.norm(found, axis=1) / np.linalg.norm(query)
    order = np.argsort(-scores, kind="stable")
    return [(place + 1, texts[i], scores[i]) for place, i in enumerate(order)]


def check(shown: list[tuple], judged: list[tuple]) -> None:
    for (rank, words, score), (place, text, value) in zip(shown, judged, strict=False):
        assert rank == place
        assert words.endswith(re.sub(r"\s+", " ", text))
        assert abs(score - value) < 0.0051
