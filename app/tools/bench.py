"""The command `quintet bench --url URL`: its arguments, and the run that they describe.

Exit codes: 0 done; 1 stopped with a sentence; 2 done, but some requests failed; 130 interrupted.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from app.processes import signals
from app.tools.service import KEY_VARIABLE, api_key, base_url
from app.tools.tool_errors import ToolError
from model.argument_types import (
    non_negative_float,
    positive_float,
    positive_int,
    positive_int_to,
)

if TYPE_CHECKING:
    from app.tools.bench_run import BenchRun

# Of 100,000 shorter texts over one in a thousand comes again. Two texts of n of the 320 words are
# the same with 320 ** -n; of so many tokens of quintet-mini's tokenizer, ending in fillers where
# the next word is too long, with 7e-8 at 11 and 1e-8 at 12.
FEWEST_WORDS = 4
FEWEST_TOKENS = 12
# More is a mistake, or needs several machines: what is sent is made in memory, and each client is a
# connection from a port of its own.
_LONGEST = 1_000_000
_MOST_INPUTS = 100_000
_MOST_CLIENTS = 65_535
_MOST_PROCESSES = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `run` reads."""
    parser.add_argument(
        "--url",
        required=True,
        help=f"a running service, http://host:port, with the key in {KEY_VARIABLE}; no proxy is "
        "used",
    )
    _add_load(parser)
    _add_texts(parser)
    _add_bounds(parser)


def _add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clients",
        type=positive_int_to(_MOST_CLIENTS),
        metavar="N",
        help="closed loop: N that each wait for their answer (4); with --rate: connections (256)",
    )
    parser.add_argument(
        "--rate",
        type=positive_float,
        metavar="R",
        help="open loop: R requests a second, whatever comes back; latencies from the due time",
    )
    parser.add_argument(
        "--processes",
        type=positive_int_to(_MOST_PROCESSES),
        default=1,
        metavar="N",
        help="that send requests, 1",
    )


def _add_texts(parser: argparse.ArgumentParser) -> None:
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--words",
        type=_lengths,
        metavar="N,N",
        help=f"of the texts in turn, 12; {FEWEST_WORDS} or more, so that each text is new",
    )
    size.add_argument(
        "--tokens",
        type=_lengths,
        metavar="N,N",
        help=f"instead: tokens, two special ones included; {FEWEST_TOKENS} or more",
    )
    add = parser.add_argument
    inputs = positive_int_to(_MOST_INPUTS)
    add("--inputs", type=inputs, default=1, metavar="N", help="texts a request, 1")
    add(
        "--tasks",
        type=lambda text: text.split(","),
        metavar="T,T",
        help="of the requests in turn; default: all of the service's, mixed",
    )
    add("--encoding", choices=("base64", "float"), default="base64")
    add("--model", help="a served name; default: none is sent")


def _add_bounds(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--seconds", type=positive_float, default=20.0, metavar="S", help="to measure, 20, at most")
    add("--requests", type=positive_int, metavar="N", help="to measure at most")
    add(
        "--warm-up",
        type=non_negative_float,
        default=30.0,
        metavar="S",
        help="at most so long until two windows agree within 5 %%, 30; 0 measures at once",
    )
    add("--timeout", type=positive_float, default=60.0, metavar="S", help="for one answer, 60")
    add("--progress", action="store_true", help="show the bar where there is no terminal, too")
    add("--quiet", "-q", action="store_true", help="print the result only")


def run(options: argparse.Namespace) -> int:
    """Measure; the exit code. Errors are sentences on standard error."""
    try:
        # Imported here, since every command adds the arguments, and this needs an HTTP client.
        from app.tools.bench_run import bench  # noqa: PLC0415

        signals.raise_interrupts()
        return bench(_run_of(options))
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run_of(options: argparse.Namespace) -> "BenchRun":
    """
    Raises:
        ToolError: options that cannot be.
    """
    from app.tools.bench_run import BenchRun  # noqa: PLC0415

    _check_length("--words", options.words, FEWEST_WORDS)
    _check_length("--tokens", options.tokens, FEWEST_TOKENS)
    return BenchRun(
        url=base_url(options.url),
        key=api_key(),
        clients=options.clients or (4 if options.rate is None else 256),
        rate=options.rate,
        processes=options.processes,
        lengths=options.tokens or options.words or [12],
        in_tokens=options.tokens is not None,
        inputs=options.inputs,
        tasks=options.tasks,
        encoding=options.encoding,
        model=options.model,
        seconds=options.seconds,
        requests=options.requests,
        warm_up_s=options.warm_up,
        timeout_s=options.timeout,
        bar=options.progress,
        quiet=options.quiet,
    )


def _check_length(option: str, lengths: list[int] | None, fewest: int) -> None:
    """
    Raises:
        ToolError: texts would come again.
    """
    shortest = min(lengths or [fewest])
    if shortest < fewest:
        raise ToolError(
            f"{option} {shortest} is too short: of 100,000 such texts over one in a thousand comes "
            f"again, by which a cache would be measured; give {fewest} or more."
        )


def _lengths(text: str) -> list[int]:
    return [positive_int_to(_LONGEST)(each) for each in text.split(",")]
