"""The command line: `python -m model.evaluate --data DIR`.

Exit status: 0 measured; 1 with --against, lines are worse by more than --tolerance; 2 wrong input;
130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from model.evaluate.errors import EvaluationError
from model.evaluate.evaluation import Evaluated, evaluate, read_sets
from model.evaluate.lines import TASKS, further_tasks, kinds_left_out
from model.evaluate.results import write
from model.evaluate.sets import LANGUAGES, Bounds
from model.evaluate.subject import Subject
from model.evaluate.table import table, worse
from model.sources import EMBEDDED_MODEL

# torch and oneDNN each keep what they have prepared for a shape, by default for 1,024 shapes, which
# takes gigabytes where every batch has another one. They read this when torch is imported.
_PREPARED_SHAPES = "64"
_INTERRUPTED = 130
KEY_VARIABLE = "QUINTET_API_KEY"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status = _run(options)
        sys.stdout.flush()
        return status  # noqa: TRY300  (what is flushed may fail, too)
    except EvaluationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever reads has seen enough; what is still buffered must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m model.evaluate", description="How good a checkpoint or a service is."
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder of .jsonl(.xz) files")
    one = parser.add_mutually_exclusive_group()
    one.add_argument(
        "--model", default=EMBEDDED_MODEL, help="folder or hub id; default: quintet-mini"
    )
    one.add_argument("--url", help=f"a running service instead, with its key in {KEY_VARIABLE}")
    add("--against", metavar="MODEL_OR_URL", help="measure this one too, and compare")
    add("--tolerance", type=float, default=0.01, help="how much worse is no worse (default: .01)")
    add("--out", type=Path, metavar="DIR", help="write evaluation.json and two pictures there")
    add("--dimensions", type=int, nargs="+", default=(), help="default: the Matryoshka sizes")
    add(
        "--limit",
        type=_positive,
        metavar="N",
        help="records of a set and language (default: all, but 300 passages and 1000 questions)",
    )
    add("--split", choices=("dev", "test"), default="dev", help="or the other where one is missing")
    add("--languages", nargs="+", default=LANGUAGES, help="of parallel texts; default: %(default)s")
    add("--seed", type=int, default=0, help="of what is drawn at random (default: 0)")
    add("--device", default="cpu", help="cpu, cuda:0, ... or auto (default: cpu)")
    add("--dtype", default="auto", help="float32, bfloat16, float16 or auto (default)")
    add("--progress", action="store_true", help="show the bar where there is no terminal, too")
    return parser


def _run(options: argparse.Namespace) -> int:
    """
    Raises:
        EvaluationError: the input is not what it must be, or a service does not answer.
    """
    bounds = Bounds(options.split, options.limit, tuple(options.languages), options.seed)
    if options.out:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EvaluationError(f"cannot write to {options.out}: {error.strerror}.") from None
    sets, passed_over = read_sets(options.data, bounds)
    for sentence in passed_over:
        print(f"passed over: {sentence}")
    if not sets:
        raise EvaluationError(f"{options.data} has nothing to measure with.")
    named = [(options.url or options.model, options.url is not None)]
    if options.against:
        named.append((options.against, options.against.startswith(("http://", "https://"))))
    with ExitStack() as stack:
        # All are opened before one is measured: a mistyped name costs no minutes.
        subjects = [
            stack.enter_context(
                closing(_service(name, options) if is_url else _checkpoint(name, options))
            )
            for name, is_url in named
        ]
        found = [evaluate(each, sets, options.seed, bar=options.progress) for each in subjects]
    return _report(options, found, passed_over)


# Both behind the arguments: a service is measured without torch, a checkpoint without HTTP.
def _service(url: str, options: argparse.Namespace) -> Subject:
    from model.evaluate.service import Service  # noqa: PLC0415

    return Service(url, os.environ.get(KEY_VARIABLE), options.dimensions)


def _checkpoint(name: str, options: argparse.Namespace) -> Subject:
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(cache, _PREPARED_SHAPES)
    from model.evaluate.inprocess import Checkpoint  # noqa: PLC0415

    return Checkpoint(name, options.device, options.dtype, options.dimensions)


def _report(options: argparse.Namespace, found: Sequence[Evaluated], missing: list[str]) -> int:
    ours, *others = found
    against = others[0].lines if others else ()
    for each in found:
        if not each.subject.has_none:
            print(f"{each.subject.name}: it has a default task, so there is no column without.")
        for kind in kinds_left_out(each.subject):
            print(f"{each.subject.name}: no {kind}, it has no adapter {' and '.join(TASKS[kind])}.")
        for task in further_tasks(each.subject):
            print(f"{each.subject.name}: task {task} is measured on all of it but late chunking.")
    print("\n".join(table(ours.lines, against)))
    sentences = worse(ours.lines, against, options.tolerance)
    if others:
        print(f"\n{len(sentences)} values are worse by more than {options.tolerance}:")
        print("\n".join(sentences))
    if options.out:
        _write(options, found, missing)
    return 1 if sentences else 0


def _write(options: argparse.Namespace, found: Sequence[Evaluated], missing: list[str]) -> None:
    said = {
        "split": options.split,
        "limit": options.limit,
        "seed": options.seed,
        "passed_over": missing,
    }
    written = write(options.out, found, said)
    print("\nwritten:", *written, sep="\n  ")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number


if __name__ == "__main__":
    sys.exit(main())
