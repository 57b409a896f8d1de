"""Texts and requests of a wanted size, the same for every server that is measured."""

import random
import re
from itertools import cycle
from pathlib import Path

from model.tasks import Task
from model.tokenizer import Tokenizer
from tests.checkpoints import TASKS
from tests.exchange import post
from tests.load import MakeRequest

WORDS = sorted(set(re.findall(r"[A-Za-z]+", (Path(__file__).parents[2] / "README.md").read_text())))


def texts(count: int, words: int, seed: int = 0) -> list[str]:
    """That many texts of that many random words."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=words)) for _ in range(count)]


def texts_of_tokens(tokenizer: Tokenizer, count: int, tokens: int) -> list[str]:
    """That many texts of that many tokens, special ones included."""

    def length(words: list[str]) -> int:
        return len(tokenizer.rows([" ".join(words)], Task(None, None, "")).rows[0])

    found = []
    for text in texts(count, tokens, seed=1):
        words = text.split()
        while length(words) > tokens:
            words.pop()
        while length(words) < tokens:
            words.append("a")
        found.append(" ".join(words))
    return found


def requests(inputs: list[list[str]], encoding: str, tokens: int = 0) -> MakeRequest:
    """Requests in turn, each with the next one of the five tasks. `tokens` is what each costs."""
    tasks = cycle(TASKS)
    made = [
        post({"input": each, "task": next(tasks), "encoding_format": encoding}, tokens=tokens)
        for each in inputs * len(TASKS)
    ]
    return lambda number: made[number % len(made)]
