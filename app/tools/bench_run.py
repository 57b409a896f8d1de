"""One run of `quintet bench`: ask the service what it is, warm it up, measure, report.

Promises
1. The first request is judged: whoever answers it wrongly is not measured.
2. A run is bounded: by the time of its warm-up, its own, and the wait for the last answers.
3. Each text is new to the service, in this run and beside other runs.
"""

import asyncio
import math
import secrets
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from app.tools.bench_report import Measured, json_line, table
from app.tools.bench_texts import WORDS, FreshRequests, TextSizes, TextStream
from app.tools.client_bodies import RequestOptions
from app.tools.http_client import Client, RetryPolicy, connect
from app.tools.load import Load, Seen
from app.tools.load_processes import Fleet, generators
from app.tools.tool_errors import RefusedError, ToolError

_STEADY = 0.05
# Of a window of the warm-up: requests of each client, and seconds at most.
_WINDOW_REQUESTS = 20
_WINDOW_S = 5.0
# Between the numbers of two windows' requests.
_APART = 1_000_003
_FAILED = 2
# A word has 1.7 tokens (quintet-mini), give or take 0.9: the average of so many is right within 1 %
# or two.
_SAMPLED_WORDS = 2000
_TEXTS_AT_ONCE = 32  # what each service takes in a request


@dataclass(frozen=True, slots=True)
class BenchRun:
    """The options of the command line."""

    url: str
    key: str | None
    clients: int
    rate: float | None
    processes: int
    lengths: list[int]
    in_tokens: bool
    inputs: int
    tasks: list[str] | None
    encoding: str
    model: str | None
    seconds: float
    requests: int | None
    warm_up_s: float
    timeout_s: float
    bar: bool
    quiet: bool

    def facts(self) -> dict[str, Any]:
        """The options that a figure depends on."""
        left_out = ("key", "bar", "quiet", "in_tokens", "lengths")
        found = {name: value for name, value in asdict(self).items() if name not in left_out}
        return found | {"tokens" if self.in_tokens else "words": self.lengths}


@dataclass(frozen=True, slots=True)
class _Service:
    """What the service says of itself, and what one request of ours costs."""

    model: str | None
    tasks: list[str | None]
    tokens_of_words: list[int] | None
    tokens: float


def bench(run: BenchRun) -> int:
    """Measure and print; the exit code: 0, or 2 if requests failed.

    Raises:
        ToolError: the service cannot be asked.
        KeyboardInterrupt: the run ends early.
    """
    seed = secrets.randbits(32)
    service = asyncio.run(_ask(run, seed))
    requests = _requests(run, service, seed)
    load = Load(
        run.url, requests, run.clients, run.seconds, run.requests, run.rate, run.timeout_s, keep=0
    )
    with generators(run.processes) as fleet:
        windows, steady = _warm_up(run, fleet, load)
        seen = _shown(run, "measuring", fleet, replace(load, base=windows * _APART))
    measured = Measured(seen, run.inputs, service.tokens, windows, steady=steady)
    print(table(measured))
    facts = run.facts() | {"served": service.model, "tasks": service.tasks, "seed": seed}
    print(json_line(facts, measured))
    return _FAILED if seen.failures else 0


async def _ask(run: BenchRun, seed: int) -> _Service:
    """
    Raises:
        ToolError: it does not answer, or not with vectors.
    """
    async with connect(run.url, run.key, 1, proxies=False) as http:
        client = Client(http, RetryPolicy(retries=0))
        info = await client.info()
        tasks = run.tasks or info.get("tasks") or [None]
        tokens = await _tokens_of_words(client) if run.in_tokens else None
        stream = TextStream(TextSizes(run.lengths, tokens), seed + 1)
        each_has = await _judge(client, run, tasks, stream)
        return _Service(info.get("model"), list(tasks), tokens, each_has)


async def _judge(
    client: Client, run: BenchRun, tasks: Sequence[str | None], stream: TextStream
) -> float:
    """Ask for vectors with each of the tasks; the tokens of a text on average.

    Texts of so many words differ in their tokens, so that it takes many to know the average.
    """
    rounds = 1 if run.in_tokens else math.ceil(_SAMPLED_WORDS / (sum(run.lengths) * len(tasks)))
    count, tokens = rounds * len(run.lengths), 0
    for number, task in enumerate(tasks):
        texts = [stream.text(number * count + each) for each in range(count)]
        for at in range(0, count, _TEXTS_AT_ONCE):
            options = RequestOptions(model=run.model, task=task)
            tokens += (await client.embed(texts[at : at + _TEXTS_AT_ONCE], options)).tokens
    return tokens / (count * len(tasks))


async def _tokens_of_words(client: Client) -> list[int]:
    try:
        return await client.count_tokens(WORDS)
    except RefusedError as error:
        if error.status in (404, 405):
            raise ToolError(
                "the service has no /tokenize, by which --tokens measures; give --words instead."
            ) from None
        raise


def _requests(run: BenchRun, service: _Service, seed: int) -> FreshRequests:
    address = urlsplit(run.url)
    key = f"Authorization: Bearer {run.key}\r\n" if run.key else ""
    head = (
        f"POST {address.path}/v1/embeddings HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Content-Type: application/json\r\n{key}"
    )
    fields: dict[str, object] = {"encoding_format": run.encoding}
    if run.model:
        fields["model"] = run.model
    sizes = TextSizes(run.lengths, service.tokens_of_words)
    return FreshRequests(sizes, run.inputs, service.tasks, head, seed, fields)


def _warm_up(run: BenchRun, fleet: Fleet, load: Load) -> tuple[int, bool | None]:
    """The number of windows, and whether the last two agreed: in the rate of a closed loop, in the
    median latency of an open one. None where there was no warm-up."""
    before, spent, windows = 0.0, 0.0, 0
    while spent < run.warm_up_s:
        seconds = min(_WINDOW_S, run.warm_up_s - spent)
        window = replace(load, seconds=seconds, most=None, base=windows * _APART)
        if run.rate is None:
            window = replace(window, most=_WINDOW_REQUESTS * run.clients)
        seen = _shown(run, f"warm-up, window {windows + 1}", fleet, window)
        now = seen.per_s if run.rate is None else seen.latency(0.5)
        spent, windows = spent + min(seen.seconds or seconds, seconds), windows + 1
        if before and abs(now - before) <= _STEADY * max(now, before):
            return windows, True
        before = now
    return windows, False if windows else None


def _shown(run: BenchRun, what: str, fleet: Fleet, load: Load) -> Seen:
    """Run a load with a bar of its answers."""
    expected = [run.rate * load.seconds] if run.rate else []
    total = int(min([*expected, *([load.most] if load.most else [])], default=0)) or None
    shown = not run.quiet and (run.bar or sys.stderr.isatty())
    with tqdm(
        total=total, desc=what, unit=" requests", file=sys.stderr, leave=False, disable=not shown
    ) as bar:
        return fleet.run(load, lambda answers: (bar.update(answers - bar.n), None)[1])
