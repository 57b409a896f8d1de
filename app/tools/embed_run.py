"""One run of `quintet embed`, from a file to its output.

Promises
1. The same options and the same input make the same requests and the same output, interrupted or
   not: a run continues where the journal ends, and the size of a batch depends on its place alone.
2. A file appears under its name whole, or not at all. A stream has no journal: it is written as
   answers come, and a run that was interrupted begins anew.
"""

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from app.tools import outputs
from app.tools.batch_embedder import BatchEmbedder, RequestBatch
from app.tools.client_bodies import RequestOptions
from app.tools.http_client import Client, RetryPolicy, connect
from app.tools.in_order import in_thread, map_in_order
from app.tools.input_file import InputFile
from app.tools.input_records import REPAIRED, InputCounts, Record, group_records, request_batches
from app.tools.journal import Entry, Journal, Totals
from app.tools.local_service import local_service
from app.tools.output_path import beside, check_file, is_stream, resolved
from app.tools.outputs import StreamOutput
from app.tools.progress import EmbedProgress
from app.tools.tool_errors import ToolError
from model.unicode import well_formed

# The fields of GET /info that must be the same when a run is continued; and the vectors' size.
_SERVED = ("model", "revision", "default_task", "width")


@dataclass(frozen=True, slots=True)
class EmbedRun:
    """The options of the command line. Without `url` a service is started for the run."""

    source: InputFile
    output: Path
    format: str
    options: RequestOptions
    url: str | None
    key: str | None
    local_model: str | None
    batch_size: int
    concurrency: int
    retries: int
    wait_s: int
    skip_errors: bool
    overwrite: bool
    restart: bool
    bar: bool
    quiet: bool

    @property
    def journal_path(self) -> Path:
        return beside(resolved(self.output), ".part")

    def records(self) -> Iterator[Record]:
        """All records; with `skip_errors` also the lines that cannot be read."""
        return self.source.records(skip_errors=self.skip_errors)

    def batches(self, records: Iterable[Record]) -> Iterator[RequestBatch]:
        """The batches of records; with late chunking each is a document."""
        if self.options.late_chunking:
            return group_records(records)
        return request_batches(records, self.batch_size, chunked=self.options.chunking is not None)

    def identity(self) -> dict[str, Any]:
        """What makes two runs the same. Options that change no vector are not in it."""
        source = self.source
        read = source.identity() if source.rereadable else {"the input file": "standard input"}
        asked = asdict(replace(self.options, model=self.options.model or self.local_model))
        del asked["service_tier"]
        identity = read | {f"--{name.replace('_', '-')}": value for name, value in asked.items()}
        # A file name that is not UTF-8 has lone surrogates here, which JSON cannot hold.
        return {
            name: well_formed(value) if isinstance(value, str) else value
            for name, value in identity.items()
        }


def embed_file(run: EmbedRun) -> int:
    """Embed the file; the exit code: 0, or 2 if records were skipped.

    Raises:
        ToolError, KeyboardInterrupt: the run ends early; a note says what is kept.
    """
    into_stream = is_stream(run.output)
    if not into_stream:
        check_file(run.output, Path(run.source.file) if run.source.rereadable else None)
        continues = run.journal_path.exists() and run.source.rereadable and not run.restart
        if run.output.exists() and not run.overwrite and not continues:
            raise _exists(run.output)
    counts, total = InputCounts(), None
    if run.source.rereadable:
        # Bad lines are reported before anything is sent, and the bar knows its end.
        for _ in run.batches(counts.counted(run.records())):
            pass
        total = counts.records
    totals = (_into_stream if into_stream else _into_file)(run, counts, total)
    if not run.quiet:
        for sentence in _remarks(run, counts, totals):
            print(sentence, file=sys.stderr)
    return 2 if totals.failed else 0


def _into_file(run: EmbedRun, counts: InputCounts, total: int | None) -> Totals:
    """Embed into the journal, and write the output from it; the sums of all runs."""
    with contextlib.closing(_journal(run)) as journal:
        try:
            if run.output.exists() and not run.overwrite and not journal.totals.ended:
                raise _exists(run.output)
            progress = EmbedProgress(total, journal.totals, bar=run.bar, quiet=run.quiet)
            with contextlib.closing(progress):
                if not journal.totals.ended:
                    asyncio.run(_embed(run, journal, progress, counts))
            totals = journal.totals
            width = run.options.dimensions or (totals.served or {}).get("width", 0)
            outputs.write(journal, run.output, run.format, width)
        except (ToolError, KeyboardInterrupt) as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            if note := _close_unfinished(journal, total, interrupted=interrupted):
                error.add_note(note)
            raise
        journal.discard()
    if not run.quiet:
        print(f"{progress.summary(totals)} -> {run.output}", file=sys.stderr)
    return totals


def _into_stream(run: EmbedRun, counts: InputCounts, total: int | None) -> Totals:
    """Write each answer as it comes; the sums of this run."""
    with contextlib.closing(StreamOutput(run.output)) as stream:
        try:
            progress = EmbedProgress(total, Totals(), bar=run.bar, quiet=run.quiet)
            with contextlib.closing(progress):
                asyncio.run(_embed(run, stream, progress, counts))
        except (ToolError, KeyboardInterrupt) as error:
            of = "" if total is None else f" of {total}"
            error.add_note(f"{stream.totals.vectors}{of} texts were written.")
            raise
    if not run.quiet:
        print(f"{progress.summary(stream.totals)} -> {stream.name}", file=sys.stderr)
    return stream.totals


def _remarks(run: EmbedRun, counts: InputCounts, totals: Totals) -> Iterator[str]:
    """The warnings of a run that was finished."""
    if not totals.records:
        yield f"warning: {run.source.name} has no texts, so that the output has no vectors."
    if counts.repaired:
        yield REPAIRED.format(counts.repaired)
    if totals.failed and not is_stream(run.output):
        errors = beside(resolved(run.output), ".errors.jsonl")
        yield f"{totals.failed} records were left out; {errors} says which and why."


def _journal(run: EmbedRun) -> Journal:
    """The run's journal, which begins anew where the input cannot be read again."""
    journal = Journal(run.journal_path, run.identity(), restart=run.restart)
    if run.source.rereadable or journal.totals == Totals():
        return journal
    journal.close()
    return Journal(run.journal_path, run.identity(), restart=True)


def _exists(output: Path) -> ToolError:
    return ToolError(f"{output} is already there; --overwrite replaces it.")


def _close_unfinished(journal: Journal, total: int | None, *, interrupted: bool) -> str | None:
    """Remove a journal that is of no use; a sentence about what a run that ends early leaves."""
    records = journal.totals.records
    if total is None:
        journal.discard()
        return "nothing is kept: standard input cannot be read again."
    if not (records or journal.totals.ended):
        journal.discard()
        return "nothing was answered yet: the same command begins anew." if interrupted else None
    return f"{records} of {total} texts are kept in {journal.path}: the same command goes on there."


async def _embed(
    run: EmbedRun, output: Journal | StreamOutput, progress: EmbedProgress, counts: InputCounts
) -> None:
    """Append to the output what it lacks."""
    async with _client(run, progress) as client:
        info = await client.info()
        served = {name: info[name] for name in _SERVED if name in info}
        if isinstance(output, Journal):
            _check_served(output, served)
        progress.start()

        async def store(entry: Entry) -> None:
            entry = replace(entry, served=served)
            if isinstance(output, Journal):
                output.append(entry)
            else:
                await in_thread(lambda: output.append(entry))
                for failed in entry.failed:
                    progress.warn(f"record {failed['record']}: {failed['error']}")
            progress.show(output.totals)

        records = run.records() if run.source.rereadable else counts.counted(run.records())
        rest = run.batches(itertools.islice(records, output.totals.records, None))
        embedder = BatchEmbedder(client, run.options, run.skip_errors, output.totals.space)
        await map_in_order(rest, embedder.embed, store, run.concurrency)
        output.append(Entry(0, [], np.empty((0, 0), np.float32), served=served, end=True))


def _check_served(journal: Journal, served: dict[str, Any]) -> None:
    """
    Raises:
        ToolError: another service answered what the journal holds.
    """
    before = journal.totals.served
    if before is None:
        return
    for name in _SERVED:
        if before.get(name) != served.get(name):
            raise ToolError(
                f"{journal.path} is of another service: its {name} was {before.get(name)}, now it "
                f"is {served.get(name)}. Ask that one, or start over with --restart."
            )


@contextlib.asynccontextmanager
async def _client(run: EmbedRun, progress: EmbedProgress) -> AsyncIterator[Client]:
    """A client of the service at the run's address, or of one that is started for the run."""
    async with contextlib.AsyncExitStack() as stack:
        url = run.url
        if url is None:
            url = await stack.enter_async_context(local_service(run.local_model))
        http = await stack.enter_async_context(connect(url, run.key, run.concurrency))
        yield Client(http, RetryPolicy(run.retries, run.wait_s), progress.report)
