"""`quintet evaluate --data DIR`; its arguments stand in arguments.py.

Exit status: 0 measured; 1 with --against, lines are worse by more than --tolerance; 2 wrong input.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

from model.evaluate.errors import EvaluationError
from model.evaluate.evaluation import Evaluated, evaluate, read_sets
from model.evaluate.lines import TASKS, further_tasks, kinds_left_out
from model.evaluate.results import write
from model.evaluate.sets import Bounds
from model.evaluate.subject import Subject
from model.evaluate.table import table, worse

# torch and oneDNN each keep what they have prepared for a shape, by default for 1,024 shapes, which
# takes gigabytes where every batch has another one. They read this when torch is imported.
_PREPARED_SHAPES = "64"


# Opens the service at a URL, of which these sizes are wanted; none are the model's own.
OpenService = Callable[[str, Sequence[int]], Subject]


def run(options: argparse.Namespace, open_service: OpenService) -> int:
    """Evaluate; the exit status. Errors are sentences on standard error."""
    try:
        return _run(options, open_service)
    except EvaluationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace, open_service: OpenService) -> int:
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
                closing(
                    open_service(name, options.dimensions) if is_url else _checkpoint(name, options)
                )
            )
            for name, is_url in named
        ]
        found = [evaluate(each, sets, options.seed, bar=options.progress) for each in subjects]
    return _report(options, found, passed_over)


def _checkpoint(name: str, options: argparse.Namespace) -> Subject:
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(cache, _PREPARED_SHAPES)
    from model.evaluate.inprocess import Checkpoint  # noqa: PLC0415  (a service needs no torch)

    return Checkpoint(name, options.device, options.dtype, options.dimensions)


def _report(options: argparse.Namespace, found: Sequence[Evaluated], missing: list[str]) -> int:
    ours, *others = found
    against = others[0].lines if others else ()
    for each in found:
        if not each.subject.has_none:
            print(
                f"{each.subject.name}: the service has a default task, so nothing is measured "
                "without a task (EMBED_DEFAULT_TASK=none serves the base model, too)."
            )
        for kind in kinds_left_out(each.subject):
            print(f"{each.subject.name}: no {kind}, it has no adapter {' and '.join(TASKS[kind])}.")
        for task in further_tasks(each.subject):
            print(f"{each.subject.name}: task {task} is measured on all of it but late chunking.")
    print("\n".join(table(ours.lines, against)))
    sentences = worse(ours.lines, against, options.tolerance)
    if others:
        end = ":" if sentences else "."
        print(f"\n{len(sentences)} values are worse by more than {options.tolerance}{end}")
        print(*sentences, sep="\n", end="\n" if sentences else "")
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
