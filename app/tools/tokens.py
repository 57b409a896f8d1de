"""`quintet tokens FILE`: what the texts of a file cost, and which are too long.

The model's own tokenizer counts, in this process: no weights are read and nothing is embedded.

Exit codes: 0 done; 1 stopped with a sentence; 2 done, but lines were skipped; 130 interrupted.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from app.settings import NO_TASK, read_settings
from app.tools import source
from app.tools.errors import ToolError
from app.tools.inputs import REPAIRED, Record, Survey, batches
from app.tools.pipes import forget_output
from app.tools.tally import Report, Tally
from model.config import read_config
from model.hub import locate
from model.tasks import Task, Tasks, UnknownTaskError

_BATCH = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `run` reads."""
    source.add_arguments(parser)
    parser.add_argument("--model", help="quintet-mini, a folder or a hub id (default: EMBED_MODEL)")
    parser.add_argument("--task", help="default: EMBED_DEFAULT_TASK")
    parser.add_argument(
        "--skip-errors",
        action="store_true",
        help="go on without lines that cannot be read, and say on standard error which",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--each", action="store_true", help="print id<TAB>tokens for each record")


def run(options: argparse.Namespace) -> int:
    """Count the file's tokens; the exit code. Errors are sentences on standard error.

    Raises:
        CheckpointError, SettingsError: the model or a setting is refused.
    """
    survey = Survey()
    try:
        report = _count(options, survey)
        if options.json:
            print(json.dumps(asdict(report), ensure_ascii=False))
        elif not options.each:
            print(report.table())
        sys.stdout.flush()
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        forget_output()
        return 0
    except (OSError, UnicodeEncodeError) as error:
        forget_output()
        what = "" if getattr(error, "filename", None) else "cannot write standard output: "
        print(f"error: {what}{error}", file=sys.stderr)
        return 1
    for sentence in _remarks(options, survey):
        print(sentence, file=sys.stderr)
    return 2 if survey.unread else 0


def _remarks(options: argparse.Namespace, survey: Survey) -> Iterator[str]:
    """What is to be known of a count that was done."""
    if not survey.records:
        yield f"warning: {options.file} has no texts."
    if survey.repaired:
        yield REPAIRED.format(survey.repaired)
    if survey.unread:
        yield f"{survey.unread} lines were left out."


def _count(options: argparse.Namespace, survey: Survey) -> Report:
    """Count all records, and print each where that is asked for."""
    from model.tokenizer import RowOptions, Tokenizer  # noqa: PLC0415  (no other command counts)

    chosen = source.source(options)
    records = _readable(survey.watched(chosen.records(skip_errors=options.skip_errors)))
    settings = read_settings()
    name, revision = options.model or settings.model, settings.model_revision
    folder = locate(name, revision)
    config = read_config(folder)
    task = _task(Tasks(config), options.task or settings.default_task)
    tokenizer, tally = Tokenizer(folder, config), Tally(config.max_tokens)
    for batch in batches(records, _BATCH):
        counted = tokenizer.rows([each.text for each in batch], task, RowOptions(counting=True))
        tally.charged += counted.tokens
        for record, tokens in zip(batch, counted.input_tokens, strict=True):
            tally.add(record.number, tokens)
            if options.each:
                print(f"{record.name}\t{tokens}")
    return Report.of(tally, name, task.name)


def _readable(records: Iterable[Record]) -> Iterator[Record]:
    """The records without the lines that are none, of which each is said."""
    for record in records:
        if record.error is None:
            yield record
        else:
            print(f"left out: {record.error}", file=sys.stderr)


def _task(tasks: Tasks, name: str) -> Task:
    try:
        return tasks.named(None if name == NO_TASK else name)
    except UnknownTaskError as error:
        raise ToolError(str(error)) from None
