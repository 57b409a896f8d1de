"""`quintet tokens FILE`: what the texts of a file cost, and which are too long.

The model's own tokenizer counts, in this process: no weights are read and nothing is embedded.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict

from app.settings import NO_TASK, read_settings
from app.tools import source
from app.tools.errors import ToolError
from app.tools.inputs import batches
from app.tools.tally import Report, Tally
from model.config import read_config
from model.sources import locate
from model.tasks import Task, Tasks, UnknownTaskError

_BATCH = 256
_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `run` reads."""
    source.add_arguments(parser)
    parser.add_argument("--model", help="quintet-mini, a folder or a hub id (default: EMBED_MODEL)")
    parser.add_argument("--task", help="default: EMBED_DEFAULT_TASK")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--each", action="store_true", help="print id<TAB>tokens for each record")


def run(options: argparse.Namespace) -> int:
    """Count the file's tokens; the exit code. Errors are sentences on standard error.

    Raises:
        CheckpointError, SettingsError: the model or a setting is refused.
    """
    try:
        report = _count(options)
        if options.json:
            print(json.dumps(asdict(report), ensure_ascii=False))
        elif not options.each:
            print(report.table())
        sys.stdout.flush()
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever reads has seen enough; what is still buffered must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _count(options: argparse.Namespace) -> Report:
    """Count all records, and print each where that is asked for."""
    from model.tokenizer import Reading, Tokenizer  # noqa: PLC0415  (no other command counts)

    records = source.source(options).records()
    settings = read_settings()
    name, revision = options.model or settings.model, settings.model_revision
    folder = locate(name, revision)
    config = read_config(folder)
    task = _task(Tasks(config), options.task or settings.default_task)
    tokenizer, tally = Tokenizer(folder, config), Tally(config.max_tokens)
    for batch in batches(records, _BATCH):
        counted = tokenizer.rows([each.text for each in batch], task, Reading(counting=True))
        tally.charged += counted.tokens
        for record, tokens in zip(batch, counted.input_tokens, strict=True):
            tally.add(record.number, tokens)
            if options.each:
                print(f"{record.name}\t{tokens}")
    return Report.of(tally, name, task.name)


def _task(tasks: Tasks, name: str) -> Task:
    try:
        return tasks.named(None if name == NO_TASK else name)
    except UnknownTaskError as error:
        raise ToolError(str(error)) from None
