"""What cutting costs: documents through /v1/documents beside the same chunks through
/v1/embeddings with late chunking, of quintet-mini.

    python -m tests.bench.bench_documents [--documents 100] [--tokens 2000] [--rounds 3]

The chunks are those that /v1/documents gives, so that both read the same tokens in as many rows.
Each document is a request of its own, or all are one. Rounds go over all cases in turn, every other
one backwards; the figures are medians of seconds, and of ratios within a round. On a machine that
others use too, look at the service's CPU time.
"""

import argparse
import json
from statistics import median
from typing import Any

import numpy as np

from app.tools.load import Load, Prepared
from app.tools.load_processes import Fleet, generators
from model.config import read_config
from model.tokenizer import Tokenizer
from tests.bench.observed import Observed
from tests.bench.texts import texts_of_tokens
from tests.checkpoints import MINI
from tests.exchange import post
from tests.server import Service, running

CLIENTS = 4
PASSAGE = "retrieval.passage"


def documents(count: int, tokens: int) -> list[str]:
    """Texts of about so many tokens, in sentences of 14 words."""
    tokenizer = Tokenizer(MINI, read_config(MINI))
    found = []
    for text in texts_of_tokens(tokenizer, count, tokens * 14 // 15):
        words = text.split()
        parts = [" ".join(words[at : at + 14]).capitalize() for at in range(0, len(words), 14)]
        found.append(". ".join(parts) + ".")
    return found


def seconds(service: Service, fleet: Fleet, wires: list[bytes]) -> float:
    """Until all requests are answered, which are due at once, sent by a few clients."""
    clients, most = min(CLIENTS, len(wires)), len(wires)
    load = Load(service.url, Prepared(wires), clients, 1800, most, rate=1e6, timeout_s=900)
    return fleet.run(load).right().seconds


def cpu_seconds(service: Service) -> float:
    """What it has spent so far."""
    seen = Observed.of(service)
    return sum(seen.http_s) + seen.worker_s


def cases(service: Service, texts: list[str]) -> dict[str, list[bytes]]:
    """The requests of each case."""
    answer = service.post("/v1/documents", input=texts).json()
    chunks = [[chunk["text"] for chunk in each["chunks"]] for each in answer["data"]]
    late: dict[str, Any] = {"task": PASSAGE, "late_chunking": True}
    first = service.embed(input=chunks[0], **late).json()
    ours = [chunk["embedding"] for chunk in answer["data"][0]["chunks"]]
    theirs = [each["embedding"] for each in first["data"]]
    assert (np.array(ours) * theirs).sum(axis=1).min() > 0.999, "they must read the same"
    print(
        f"{len(texts)} documents, {answer['usage']['total_tokens']} tokens, "
        f"{sum(map(len, chunks))} chunks"
    )
    return {
        "embeddings": [post({"input": each, **late}).wire for each in chunks],
        "documents": [post({"input": each}, path="/v1/documents").wire for each in texts],
        "one request": [post({"input": texts}, path="/v1/documents").wire],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with running(request_timeout_s=1800, cache_bytes=0) as service, generators(1) as fleet:
        asked = cases(service, documents(options.documents, options.tokens))
        taken: dict[str, list[float]] = {name: [] for name in asked}
        worked: dict[str, list[float]] = {name: [] for name in asked}
        for turn in range(options.rounds):
            for name, wires in list(asked.items())[:: -1 if turn % 2 else 1]:
                before = cpu_seconds(service)
                taken[name].append(seconds(service, fleet, wires))
                worked[name].append(cpu_seconds(service) - before)
    results = {
        name: {
            "seconds": round(median(taken[name]), 2),
            "ratio": ratio(taken, name),
            "cpu_seconds": round(median(worked[name]), 2),
            "cpu_ratio": ratio(worked, name),
        }
        for name in asked
    }
    for name, each in results.items():
        print(f"{name:>12} " + "  ".join(f"{value:8.3f} {what}" for what, value in each.items()))
    print(json.dumps({"bench": "documents", "results": results}))


def ratio(found: dict[str, list[float]], name: str) -> float:
    """Of a case to /v1/embeddings, round by round."""
    pairs = zip(found[name], found["embeddings"], strict=True)
    return round(median(own / other for own, other in pairs), 3)


if __name__ == "__main__":
    main()
