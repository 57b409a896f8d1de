"""Texts and requests of a wanted size, the same for every server that is measured."""

import random
from itertools import cycle

from model.tokenizer import SPECIAL_TOKENS, Tokenizer
from tests.checkpoints import TASKS
from tests.exchange import post
from tests.load import MakeRequest

# Fixed, so that figures of different days are of the same texts: 1.3 tokens a word on average.
_LIST = """
about accuracy ada Address adds ai alone already also an anchors answered answers Apache apart app
are attention Authorization auto away bad base batch batches be Bearer below berlin Besides
between bfloat bit body Both breaks burst BY changes character checkpoints classifier clinc code
collection Compare con connections constraints Content cores cosine CPU crafted crash curve
datasets days db default delay dense Descubre Develop did die different digests dimensions
distance distribution documents drains early embedder embedders embrace empfindliche encoder
English Environment especialmente everyone Example examples fails false far field fields File
fills first fitted fixed flash forward four from Get gets give given good guard Half half hands
hangs have held help hold honours hour HTTP HUB hub idle ignored index inhabitants input inputs
insert installs intents Its Japanese json KB kernels known Late layout learning left length lets
libraries License licensed lies like link listen litres loaded localhost log long longest makes
many map marked Matryoshka measure measured message metrics million mirrors mit mixed More morning
MTEB much multiplies name need neighbouring network never no normalised nowhere nuestra object off
old On ones only open origins overlapping pages parameters parse pass passage past people Pin pip
playground points Port preflight probe programs prometheus quarters quicker random reads reason
records redis refusing replicas request requests results return river rooms run Rust safetensors
said screen second self sensible sensitive sent sentence separation services Settings several
share short signals single skips slash slow soak some spare special specifically speziell stacked
standard starting starts still stops such systemd taken takes ten test Then there thing things
third three time tinted title Token tokenize tokens Tokens top train training truncate truncated
two Type und Unicode unless Until unzip url user UTF utils validation vera Vera way well whatever
when where While while white who With within Without worse writes written wrong yaml
yesterday vernacular quadrature Brückenpfeiler rhododendron kaleidoscope thermocouple Zuckerwatte
pterodactyl acrylamide ombudsman sauerkraut
"""
WORDS = _LIST.split()


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


def requests(inputs: list[list[str]], encoding: str, tokens: int = 0) -> MakeRequest:
    """Requests in turn, each with the next one of the five tasks. `tokens` is what each costs."""
    tasks = cycle(TASKS)
    made = [
        post({"input": each, "task": next(tasks), "encoding_format": encoding}, tokens=tokens)
        for each in inputs * len(TASKS)
    ]
    return lambda number: made[number % len(made)]
