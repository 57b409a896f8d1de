"""Mixture: requests of many kinds whose right answers are known beforehand.

Each text is asked alone first, on an idle service; under load the answer must have those vectors
again. The kinds: every task and none, one text and many, short and long, late chunking, floats and
base64, cut and whole. Tasks and dimensions differ between neighbours, so that a batch mixes them
and a wrong order, adapter or cut shows.
"""

import base64
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import numpy as np
import orjson

from tests.checkpoints import TASKS
from tests.exchange import OK, Answer, Request, post
from tests.server import bearer

WRONG = "wrong vector"
# What the changelog promises: a row has the same vector alone and in any batch, in bfloat16.
_SAME = 0.9995
_WORDS = [
    "alpha",
    "beta",
    "gamma",
    "Hautpflege",
    "新しい",
    "maquillage",
    "winter",
    "tax",
    "bread",
    "harbour",
    "lantern",
    "Brücke",
    "seltsam",
    "copper",
    "quince",
    "нога",
    "river",
    "eleven",
    "plötzlich",
    "soup",
    "arithmetic",
    "violin",
]


def texts(rng: random.Random, inputs: int, words: int) -> list[str]:
    """That many texts of about that many words."""
    return [
        " ".join(rng.choices(_WORDS, k=rng.randint(words // 2 + 1, words))) for _ in range(inputs)
    ]


def bodies(seed: int = 1, rounds: int = 2) -> list[dict[str, Any]]:
    """Bodies of all kinds, in a mixed order; 35 a round."""
    rng = random.Random(seed)
    sizes = [(1, 8), (1, 8), (1, 20), (1, 200), (4, 20), (16, 12), (6, 40)]
    made = []
    for _ in range(rounds):
        for task in TASKS:
            for number, (inputs, words) in enumerate(sizes):
                body: dict[str, Any] = {"input": texts(rng, inputs, words), "task": task}
                if number == len(sizes) - 1:
                    body["late_chunking"] = True
                if rng.random() < 0.5:
                    body["embedding_type"] = "base64"
                if rng.random() < 0.3:
                    body["dimensions"] = rng.choice([16, 32, 64])
                made.append(body)
    rng.shuffle(made)
    return made


def vectors(body: bytes) -> np.ndarray:
    """An answer's vectors (S, D), from floats or base64."""
    found = [each["embedding"] for each in orjson.loads(body)["data"]]
    if found and isinstance(found[0], str):
        return np.stack([np.frombuffer(base64.b64decode(each), "<f4") for each in found])
    return np.array(found, np.float32)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two sets of unit vectors (S, D) are the same, in order."""
    return found.shape == expected.shape and bool(
        (np.einsum("sd,sd->s", found, expected) >= _SAME).all()
    )


def judge_for(expected: np.ndarray) -> Callable[[Answer], str]:
    """Ok is a 200 with these vectors; a refusal is right when it says when to come back."""

    def judge(answer: Answer) -> str:
        if answer.status == 200:
            return OK if same(vectors(answer.body), expected) else WRONG
        hint = "" if "retry-after" in answer.headers else " without Retry-After"
        return f"{answer.status}{hint}"

    return judge


class Mixture:
    """Requests with known answers: `mixture(number)` is the one to send, going round."""

    def __init__(
        self, url: str, wanted: Sequence[Mapping[str, Any]], key: str | None = None
    ) -> None:
        """Ask the service at `url` for each body alone. A late-chunked one is one document, so it
        is asked whole; the inputs of others are asked one by one."""
        self.requests: list[Request] = []
        headers = bearer(key) if key else {}
        with httpx.Client(base_url=url, timeout=60, headers=headers) as client:
            for body in wanted:
                late = body.get("late_chunking")
                parts = [body["input"]] if late else [[text] for text in body["input"]]
                alone = [
                    client.post("/v1/embeddings", json={**body, "input": part}).raise_for_status()
                    for part in parts
                ]
                expected = np.concatenate([vectors(answer.content) for answer in alone])
                tokens = sum(answer.json()["usage"]["total_tokens"] for answer in alone)
                self.requests.append(post(body, judge_for(expected), tokens=tokens, key=key))

    def __call__(self, number: int) -> Request:
        return self.requests[number % len(self.requests)]

    @property
    def tokens(self) -> float:
        """Tokens of a request, on average."""
        return sum(request.tokens for request in self.requests) / len(self.requests)
