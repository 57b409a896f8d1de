"""`quintet corpus IN OUT`; its arguments are in arguments.py.

Exit status: 0 done; 1 stopped with a sentence; 2 done, but rows or files were left out.
"""

import argparse
import sys
import time
from collections.abc import Iterator

from model.corpus.errors import CorpusError
from model.corpus.options import (
    ChunkOptions,
    Columns,
    CorpusOptions,
    DeviceOptions,
    ModelOptions,
)
from model.corpus.run import CorpusRun, Counts, embed_corpus

_SIZES = {"max_tokens": 256, "min_tokens": 0, "overlap": 0}


def run(options: argparse.Namespace) -> int:
    """Embed the folder; the exit status. Errors are sentences on standard error."""
    start = time.monotonic()
    try:
        counts = embed_corpus(_run_of(options))
    except CorpusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for sentence in _warnings(options, counts):
        print(sentence, file=sys.stderr)
    if not options.quiet:
        print(_summary(options, counts, time.monotonic() - start), file=sys.stderr)
    return 2 if counts.failed or counts.broken else 0


def _run_of(options: argparse.Namespace) -> CorpusRun:
    """
    Raises:
        CorpusError: options that do not go together.
    """
    return CorpusRun(
        options.input,
        options.output,
        CorpusOptions(
            Columns(options.column, options.id_column),
            options.task,
            options.dimensions,
            options.truncate,
            _chunks(options),
        ),
        ModelOptions(options.model, options.revision, options.dtype, options.max_batch_tokens),
        DeviceOptions(
            options.address,
            options.device,
            options.actors,
            options.threads,
            options.part_texts,
            options.retries,
        ),
        progress=options.progress or (sys.stderr.isatty() and not options.quiet),
    )


def _chunks(options: argparse.Namespace) -> ChunkOptions | None:
    given = {name: getattr(options, name) for name in _SIZES}
    sizes = {name: value for name, value in given.items() if value is not None}
    if options.chunk is None:
        if sizes or options.no_text:
            name = next(iter(sizes), "no_text").replace("_", "-")
            raise CorpusError(f"--{name} goes with --chunk.")
        return None
    return ChunkOptions(options.chunk, **{**_SIZES, **sizes}, text=not options.no_text)


def _warnings(options: argparse.Namespace, counts: Counts) -> Iterator[str]:
    for sentence in counts.broken:
        yield f"left out: {sentence}"
    if counts.failed:
        yield f"{counts.failed} rows were left out; {options.output}/_errors says which and why."
    if counts.others:
        yield f"warning: {counts.others} files of {options.input} are neither Parquet nor JSONL."
    if counts.gone:
        yield (
            f"warning: {options.output} has the vectors of {counts.gone} files that are no longer "
            f"in {options.input}."
        )


def _summary(options: argparse.Namespace, counts: Counts, seconds: float) -> str:
    before = f" ({counts.finished} were finished before)" if counts.finished else ""
    changed = f", {counts.changed} of them changed," if counts.changed else ""
    return (
        f"{counts.files - len(counts.broken)} files{before}{changed}: {counts.vectors} vectors of "
        f"{counts.tokens} tokens in {seconds:.0f} s, {counts.tokens / seconds:.0f} tokens a second "
        f"-> {options.output}"
    )
