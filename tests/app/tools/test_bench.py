"""`quintet bench`: what it sends to a service, and what it says of it."""

import json
from collections import Counter
from typing import Any

import pytest

from app.__main__ import main
from app.tools.bench import FEWEST_TOKENS, FEWEST_WORDS
from app.tools.bench_texts import WORDS, TextSizes, TextStream
from model.config import read_config
from model.tokenizer import Tokenizer
from tests.app.tools.command import Command, Ended, run, run_here
from tests.app.tools.scripted import Refusal, Scripted
from tests.checkpoints import MINI, TASKS
from tests.server import Service

_SOON = ("--seconds", 20, "--warm-up", 0, "--requests")


def _figures(ended: Ended) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ended.out.splitlines()[-1])
    return found


def test_a_closed_loop_beside_a_service(service: Service) -> None:
    """All tasks in turn, texts of as many tokens as asked for; a table, and JSON last."""
    arguments = ("--tokens", "16,24", "--inputs", 2, "--clients", 2)
    ended = run("bench", "--url", service.url, *arguments, "--requests", 10, "--warm-up", 1)
    assert ended.code == 0, ended.err
    figures = _figures(ended)
    assert figures["tasks"] == list(TASKS)
    assert figures["failed"] == 0
    assert figures["answered"] == 10
    assert figures["tokens_per_s"] == pytest.approx(20 * figures["texts_per_s"], rel=0.01)
    assert figures["warm_up_windows"] >= 1
    assert "p99" in ended.out


def test_an_open_loop(scripted: Scripted) -> None:
    """Its requests are new texts of the lengths in turn; the key is sent."""
    scripted.info["tasks"] = ["one", "two"]
    arguments = ("--rate", 200, "--words", "4,6", "--inputs", 3, *_SOON, 8)
    ended = run("bench", "--url", f"{scripted.url}/v1", *arguments, QUINTET_API_KEY="secret")
    assert ended.code == 0, ended.err
    measured = scripted.asked[-8:]
    assert len(measured) == _figures(ended)["answered"] == 8
    texts = [text for each in measured for text in each.texts]
    assert len(set(texts)) == len(texts) == 24
    assert sorted({len(text.split()) for text in texts}) == [4, 6]
    assert sorted(each.body["task"] for each in measured) == ["one"] * 4 + ["two"] * 4
    assert {each.headers["authorization"] for each in scripted.asked} == {"Bearer secret"}
    assert "sent late" in ended.out


def test_the_tokens_of_texts_of_so_many_words_are_the_average_of_many(scripted: Scripted) -> None:
    """As many of each length and for each task, of some 2,000 words; few in a request."""
    scripted.info["tasks"] = ["one", "two"]
    ended = run_here("bench", "--url", scripted.url, "--words", "4,12", *_SOON, 3, "--rate", 100)
    judged = scripted.asked[:-3]
    lengths = Counter(
        (each.body["task"], len(text.split())) for each in judged for text in each.texts
    )
    assert set(lengths) == {(task, words) for task in ("one", "two") for words in (4, 12)}
    assert len(set(lengths.values())) == 1
    assert sum(words * count for (_, words), count in lengths.items()) >= 2000
    assert max(len(each.texts) for each in judged) <= 32
    figures = _figures(ended)
    assert figures["tokens_per_s"] == pytest.approx((8 + 2) * figures["texts_per_s"], rel=0.01)


def test_no_proxy_of_the_environment_is_asked(scripted: Scripted) -> None:
    """Neither for the first request. 0.0.0.0 is this machine, and no loopback address."""
    url = scripted.url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104
    ended = run("bench", "--url", url, *_SOON, 3, "--rate", 100, ALL_PROXY="http://127.0.0.1:9")
    assert ended.code == 0, ended.err


def test_another_run_sends_other_texts(scripted: Scripted) -> None:
    for _ in range(2):
        run_here("bench", "--url", scripted.url, *_SOON, 3, "--rate", 100)
    texts = scripted.texts()
    assert len(set(texts)) == len(texts)


def test_failures_are_in_the_table_and_in_the_status(scripted: Scripted) -> None:
    scripted.act = lambda asked: Refusal(503, "the queue is full") if asked.number else None
    # Texts so long that one of them is enough to know their tokens.
    lengths = ("--words", 2000)
    ended = run_here("bench", "--url", scripted.url, *lengths, *_SOON, 2, "--rate", 50)
    assert ended.code == 2
    assert "status 503: the queue is full" in ended.out
    figures = _figures(ended)
    assert (figures["failures"], figures["p50_ms"]) == ({"status 503": 2}, None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--words", "4"), "the key is wrong"),
        (("--tokens", "12"), "the key is wrong"),
        (("--words", "12,3"), "--words 3 is too short: of 100,000 such texts over one"),
        (("--tokens", "11"), "would be measured; give 12 or more."),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(
    scripted: Scripted, arguments: tuple[str, ...], sentence: str
) -> None:
    scripted.act = lambda _: Refusal(401, "the key is wrong")
    ended = run_here("bench", "--url", scripted.url, *arguments)
    assert ended.code == 1
    assert sentence in ended.err
    assert not ended.out


@pytest.mark.parametrize(
    ("option", "text", "sentence"),
    [
        ("--warm-up", "nan", "must be a number, not nan"),
        ("--warm-up", "-3", "must be 0 or above, not -3"),
        ("--words", "12,1000001", "must be at most 1000000, not 1000001"),
        ("--tokens", "9" * 30, "must be at most 1000000, not 9999"),
        ("--inputs", "100001", "must be at most 100000, not 100001"),
        ("--clients", "65536", "must be at most 65535, not 65536"),
        ("--processes", "1025", "must be at most 1024, not 1025"),
    ],
)
def test_absurd_numbers_are_refused(
    capsys: pytest.CaptureFixture[str], option: str, text: str, sentence: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "--url", "http://127.0.0.1:1", option, text])
    assert f"argument {option}: {sentence}" in capsys.readouterr().err


def test_a_service_that_counts_no_tokens_is_measured_by_words(scripted: Scripted) -> None:
    scripted.act = lambda _: Refusal(404)
    ended = run_here("bench", "--url", scripted.url, "--tokens", "12")
    assert "give --words instead" in ended.err


def test_an_interrupt_ends_it(scripted: Scripted) -> None:
    command = Command("bench", "--url", scripted.url, "--warm-up", 0, "--seconds", 60)
    scripted.wait_for_requests(5)
    command.interrupt()
    ended = command.wait()
    assert (ended.code, ended.err) == (130, "interrupted\n")


def test_texts_are_as_long_as_asked_for_and_none_comes_twice() -> None:
    tokens = {word: 1 + len(word) % 3 for word in WORDS} | {"a": 1}
    stream = TextStream(TextSizes([3, 12, 40], [tokens[word] for word in WORDS]), seed=1)
    texts = [stream.text(number) for number in range(3000)]
    for number, text in enumerate(texts):
        assert sum(tokens[word] for word in text.split()) + 2 == (3, 12, 40)[number % 3]
    assert len(set(texts[2::3])) == 1000


@pytest.mark.parametrize("in_tokens", [True, False])
def test_of_the_shortest_texts_hardly_any_comes_twice(in_tokens: bool) -> None:
    tokens = [*map(len, Tokenizer(MINI, read_config(MINI)).ids(WORDS))] if in_tokens else None
    stream = TextStream(TextSizes([FEWEST_TOKENS if in_tokens else FEWEST_WORDS], tokens), seed=1)
    assert len({stream.text(number) for number in range(100_000)}) >= 99_900
