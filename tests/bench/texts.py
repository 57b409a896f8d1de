"""Texts and requests of a wanted size, the same for every server that is measured."""

import random
from itertools import cycle

from app.tools.bench_texts import WORDS
from app.tools.load import Prepared
from model.tokenizer import SPECIAL_TOKENS, Tokenizer
from tests.checkpoints import TASKS
from tests.exchange import post


def texts(count: int, words: int, seed: int = 0) -> list[str]:
    """That many texts of that many random words."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=words)) for _ in range(count)]


def texts_of_tokens(tokenizer: Tokenizer, count: int, tokens: int, seed: int = 1) -> list[str]:
    """That many texts of that many tokens, special ones included."""
    # Words are tokenised one by one, so that their tokens add up.
    length = dict(zip(WORDS, map(len, tokenizer.ids(WORDS)), strict=True))
    found = []
    for text in texts(count, tokens, seed):
        words, left = [], tokens - SPECIAL_TOKENS
        for word in text.split():
            if length[word] > left:
                break
            words.append(word)
            left -= length[word]
        found.append(" ".join([*words, *["a"] * left]))
    return found


def requests(inputs: list[list[str]], encoding: str) -> Prepared:
    """Requests in turn, each with the next one of the five tasks."""
    tasks = cycle(TASKS)
    made = [
        post({"input": each, "task": next(tasks), "encoding_format": encoding}).wire
        for each in inputs * len(TASKS)
    ]
    return Prepared(made)
