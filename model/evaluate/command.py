"""`quintet evaluate --data DIR`; its arguments are in arguments.py.

Exit status: 0 measured; 1 with --against, values are worse by more than --tolerance; 2 wrong input.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

from model.evaluate.datasets import Sampling
from model.evaluate.errors import EvaluationError
from model.evaluate.evaluated_model import EvaluatedModel
from model.evaluate.evaluation import EvaluationResult, evaluate, read_datasets
from model.evaluate.results import write
from model.evaluate.scoring import TASKS, further_tasks, kinds_left_out
from model.evaluate.table import table, worse
from model.memory import keep_fewer_shapes

# Every batch has another shape.
_CACHED_SHAPES = 64

# Opens the service at a URL, to evaluate it at these sizes, or by default at its Matryoshka sizes.
OpenService = Callable[[str, Sequence[int]], EvaluatedModel]


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
    sampling = Sampling(options.split, options.limit, tuple(options.languages or ()), options.seed)
    if options.out:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EvaluationError(f"cannot write to {options.out}: {error.strerror}.") from None
    datasets, passed_over = read_datasets(options.data, sampling)
    for sentence in passed_over:
        print(f"passed over: {sentence}")
    if not datasets:
        raise EvaluationError(f"{options.data} has nothing to measure with.")
    named = [(options.url or options.model, options.url is not None, options.revision)]
    if options.against:
        is_url = options.against.startswith(("http://", "https://"))
        named.append((options.against, is_url, options.against_revision))
    if served := [name for name, is_url, revision in named if is_url and revision]:
        raise EvaluationError(f"{served[0]} serves what it has loaded: a revision is of a hub id.")
    with ExitStack() as stack:
        # All are opened before one is measured, so that a mistyped name costs no minutes.
        models = [
            stack.enter_context(
                closing(
                    open_service(name, options.dimensions)
                    if is_url
                    else _checkpoint(name, revision, options)
                )
            )
            for name, is_url, revision in named
        ]
        results = [
            evaluate(each, datasets, options.seed, show_progress=options.progress)
            for each in models
        ]
    return _report(options, results, passed_over)


def _checkpoint(name: str, revision: str | None, options: argparse.Namespace) -> EvaluatedModel:
    keep_fewer_shapes(_CACHED_SHAPES)
    from model.evaluate.inprocess import (  # noqa: PLC0415  (a service needs no torch)
        Checkpoint,
        LoadOptions,
    )

    how = LoadOptions(options.device, options.dtype, revision)
    return Checkpoint(name, how, options.dimensions)


def _report(
    options: argparse.Namespace, results: Sequence[EvaluationResult], passed_over: list[str]
) -> int:
    """Print the table and what is worse, and write --out; the exit status."""
    for model in (result.model for result in results):
        if not model.embeds_without_task:
            print(
                f"{model.name}: the service has a default task, so nothing is measured "
                "without a task (EMBED_DEFAULT_TASK=none serves the base model, too)."
            )
        for kind in kinds_left_out(model):
            print(f"{model.name}: no {kind}, it has no adapter {' and '.join(TASKS[kind])}.")
        for task in further_tasks(model):
            print(f"{model.name}: task {task} is measured on all of it but late chunking.")
    metrics, *others = (result.metrics for result in results)
    against = others[0] if others else ()
    print("\n".join(table(metrics, against)))
    sentences = worse(metrics, against, options.tolerance)
    if others:
        end = ":" if sentences else "."
        print(f"\n{len(sentences)} values are worse by more than {options.tolerance}{end}")
        print(*sentences, sep="\n", end="\n" if sentences else "")
    if options.out:
        settings = {name: getattr(options, name) for name in ("split", "limit", "seed")}
        written = write(options.out, results, {**settings, "passed_over": passed_over})
        print("\nwritten:", *written, sep="\n  ")
    return 1 if sentences else 0
