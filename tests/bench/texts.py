"""Texts and requests of a wanted size, the same for every server that is measured."""

from itertools import cycle

from app.tools.bench_texts import WORDS, TextSizes, TextStream
from app.tools.load import Prepared
from model.tokenizer import Tokenizer
from tests.checkpoints import TASKS
from tests.exchange import post


def texts(count: int, words: int, seed: int = 0) -> list[str]:
    """That many texts of that many random words."""
    stream = TextStream(TextSizes([words]), seed)
    return [stream.text(number) for number in range(count)]


def texts_of_tokens(tokenizer: Tokenizer, count: int, tokens: int, seed: int = 1) -> list[str]:
    """That many texts of that many tokens, special ones included."""
    # Words are tokenised one by one, so that their tokens add up.
    stream = TextStream(TextSizes([tokens], [*map(len, tokenizer.ids(WORDS))]), seed)
    return [stream.text(number) for number in range(count)]


def requests(inputs: list[list[str]], encoding: str) -> Prepared:
    """Requests in turn, each with the next one of the five tasks."""
    tasks = cycle(TASKS)
    made = [
        post({"input": each, "task": next(tasks), "encoding_format": encoding}).wire
        for each in inputs * len(TASKS)
    ]
    return Prepared(made)
