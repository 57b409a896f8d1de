"""The command `quintet tokens FILE`: count the tokens of texts, and name those that are too long.

The model's own tokenizer counts, in this process: no weights are read and nothing is embedded.

Exit codes: 0 done; 1 stopped with a sentence; 2 done, but lines were skipped; 130 interrupted.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from app.settings import read_settings
from app.tools import input_file
from app.tools.input_records import REPAIRED, InputCounts, Record, request_batches
from app.tools.pipes import discard_output
from app.tools.token_counts import TokenCounts, report_of, table
from app.tools.tool_errors import ToolError
from model.config import NO_TASK, read_config
from model.hub import locate
from model.tasks import Task, Tasks, UnknownTaskError

_BATCH = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `run` reads."""
    input_file.add_arguments(parser)
    parser.add_argument("--model", help="quintet-mini, a folder or a hub id (default: EMBED_MODEL)")
    parser.add_argument("--revision", help="commit, tag or branch of the hub id")
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
    inputs = InputCounts()
    try:
        report = _count(options, inputs)
        if options.json:
            print(json.dumps(report, ensure_ascii=False))
        elif not options.each:
            print(table(report))
        sys.stdout.flush()
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        discard_output()
        return 0
    except (OSError, UnicodeEncodeError) as error:
        discard_output()
        what = "" if getattr(error, "filename", None) else "cannot write standard output: "
        print(f"error: {what}{error}", file=sys.stderr)
        return 1
    for sentence in _remarks(options, inputs):
        print(sentence, file=sys.stderr)
    return 2 if inputs.unread else 0


def _remarks(options: argparse.Namespace, inputs: InputCounts) -> Iterator[str]:
    """The warnings of a count that was finished."""
    if not inputs.records:
        yield f"warning: {options.file} has no texts."
    if inputs.repaired:
        yield REPAIRED.format(inputs.repaired)
    if inputs.unread:
        yield f"{inputs.unread} lines were left out."


def _count(options: argparse.Namespace, inputs: InputCounts) -> dict[str, Any]:
    """Count all records; with --each print each of them."""
    from model.tokenizer import RowOptions, Tokenizer  # noqa: PLC0415  (no other command counts)

    source = input_file.input_file(options)
    records = _readable(inputs.counted(source.records(skip_errors=options.skip_errors)))
    settings = read_settings()
    name, revision = settings.checkpoint(options.model, options.revision)
    folder = locate(name, revision)
    config = read_config(folder)
    task = _task(Tasks(config), options.task or settings.default_task)
    tokenizer, counts = Tokenizer(folder, config), TokenCounts(config.max_tokens)
    for batch in request_batches(records, _BATCH):
        counted = tokenizer.rows([each.text for each in batch], task, RowOptions(counting=True))
        counts.charged += counted.tokens
        for record, tokens in zip(batch, counted.input_tokens, strict=True):
            counts.add(record.number, tokens)
            if options.each:
                print(f"{record.name}\t{tokens}")
    return report_of(counts, name, task.name)


def _readable(records: Iterable[Record]) -> Iterator[Record]:
    """The records that could be read; each of the other lines is reported on standard error."""
    for record in records:
        if record.error is None:
            yield record
        else:
            print(f"left out: {record.error}", file=sys.stderr)


def _task(tasks: Tasks, name: str) -> Task:
    try:
        return tasks.by_name(None if name == NO_TASK else name)
    except UnknownTaskError as error:
        raise ToolError(str(error)) from None
