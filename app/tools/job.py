"""Job: one run of `embed`, from a file to its output.

Promises
1. The same options and the same input make the same requests and the same output, interrupted or
   not: the journal goes on where it ended, and the size of a batch depends on its place alone.
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

import httpx
import numpy as np

from app.tools import outputs
from app.tools.bulk import Batch, apart, embed_batch, embed_in_order, embed_or_skip
from app.tools.child import embedded_service
from app.tools.client import TIMEOUT, Client, Patience, Question
from app.tools.errors import ToolError
from app.tools.inputs import REPAIRED, Record, Survey, batches, documents
from app.tools.journal import Entry, Journal, Totals
from app.tools.outputs import Stream
from app.tools.progress import Progress
from app.tools.source import Source
from app.tools.target import beside, check_file, followed, is_stream
from model.proxies import behind_proxies, proxy_refusal
from model.unicode import well_formed

# What a service says of itself and must say again when a run goes on; and its vectors' size.
_SERVED = ("model", "revision", "default_task", "width")


@dataclass(frozen=True, slots=True)
class Job:
    """What was asked for on the command line. Without `url` a service is embedded."""

    source: Source
    output: Path
    format: str
    question: Question
    url: str | None
    key: str | None
    embedded_model: str | None
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
        return beside(followed(self.output), ".part")

    def records(self) -> Iterator[Record]:
        """All records; lines that are none among them, if those are skipped."""
        return self.source.records(skip_errors=self.skip_errors)

    def batches(self, records: Iterable[Record]) -> Iterator[Batch]:
        """The batches of records; with late chunking each is a document."""
        if self.question.late_chunking:
            return documents(records)
        return batches(records, self.batch_size, cut=self.question.chunking is not None)

    def facts(self) -> dict[str, Any]:
        """What makes two runs the same. Options that change no vector are not in it."""
        read = self.source.facts() if self.source.lasting else {"the input file": "standard input"}
        asked = asdict(replace(self.question, model=self.question.model or self.embedded_model))
        said = read | {f"--{name.replace('_', '-')}": value for name, value in asked.items()}
        # A name of other bytes than UTF-8 has lone surrogates here, which JSON cannot hold.
        return {
            name: well_formed(value) if isinstance(value, str) else value
            for name, value in said.items()
        }


def embed_file(job: Job) -> int:
    """Do the job; the exit code: 0, or 2 if records were skipped.

    Raises:
        ToolError, KeyboardInterrupt: it ends here; a note says what is kept.
    """
    into_stream = is_stream(job.output)
    if not into_stream:
        check_file(job.output, Path(job.source.file) if job.source.lasting else None)
        goes_on = job.journal_path.exists() and job.source.lasting and not job.restart
        if job.output.exists() and not job.overwrite and not goes_on:
            raise _exists(job.output)
    survey, total = Survey(), None
    if job.source.lasting:
        # Bad lines are told before anything is sent, and the bar knows its end.
        for _ in job.batches(survey.watched(job.records())):
            pass
        total = survey.records
    totals = (_into_stream if into_stream else _into_file)(job, survey, total)
    if not job.quiet:
        for sentence in _remarks(job, survey, totals):
            print(sentence, file=sys.stderr)
    return 2 if totals.failed else 0


def _into_file(job: Job, survey: Survey, total: int | None) -> Totals:
    """By way of the journal; the sums of all runs."""
    with contextlib.closing(_journal(job)) as journal:
        try:
            if job.output.exists() and not job.overwrite and not journal.totals.ended:
                raise _exists(job.output)
            with Progress(total, journal.totals, bar=job.bar, quiet=job.quiet) as progress:
                if not journal.totals.ended:
                    asyncio.run(_fill(job, journal, progress, survey))
            totals = journal.totals
            width = job.question.dimensions or (totals.served or {}).get("width", 0)
            outputs.write(journal, job.output, job.format, width)
        except (ToolError, KeyboardInterrupt) as error:
            if note := _kept(journal, total, interrupted=isinstance(error, KeyboardInterrupt)):
                error.add_note(note)
            raise
        journal.discard()
    if not job.quiet:
        print(f"{progress.summary(totals)} -> {job.output}", file=sys.stderr)
    return totals


def _into_stream(job: Job, survey: Survey, total: int | None) -> Totals:
    """At once; the sums of this run."""
    with contextlib.closing(Stream(job.output)) as stream:
        try:
            with Progress(total, Totals(), bar=job.bar, quiet=job.quiet) as progress:
                asyncio.run(_fill(job, stream, progress, survey))
        except (ToolError, KeyboardInterrupt) as error:
            of = "" if total is None else f" of {total}"
            written = stream.totals.vectors
            error.add_note(f"{written}{of} texts were written.")
            raise
    if not job.quiet:
        print(f"{progress.summary(stream.totals)} -> {stream.name}", file=sys.stderr)
    return stream.totals


def _remarks(job: Job, survey: Survey, totals: Totals) -> Iterator[str]:
    """What is to be known of a run that was done."""
    if not totals.records:
        yield f"warning: {job.source.name} has no texts, so that the output has no vectors."
    if survey.repaired:
        yield REPAIRED.format(survey.repaired)
    if totals.failed and not is_stream(job.output):
        errors = beside(followed(job.output), ".errors.jsonl")
        yield f"{totals.failed} records were left out; {errors} says which and why."


def _journal(job: Job) -> Journal:
    """The job's journal, which begins anew where the input cannot be read again."""
    journal = Journal(job.journal_path, job.facts(), restart=job.restart)
    if job.source.lasting or journal.totals == Totals():
        return journal
    journal.close()
    return Journal(job.journal_path, job.facts(), restart=True)


def _exists(output: Path) -> ToolError:
    return ToolError(f"{output} is already there; --overwrite replaces it.")


def _kept(journal: Journal, total: int | None, *, interrupted: bool) -> str | None:
    """What a run that ends early leaves behind, said after clearing what is of no use."""
    records = journal.totals.records
    if total is None:
        journal.discard()
        return "nothing is kept: standard input cannot be read again."
    if not (records or journal.totals.ended):
        journal.discard()
        return "nothing was answered yet: the same command begins anew." if interrupted else None
    return f"{records} of {total} texts are kept in {journal.path}: the same command goes on there."


async def _fill(job: Job, kept: Journal | Stream, progress: Progress, survey: Survey) -> None:
    """Append to the journal, or write into the stream, what it lacks."""
    async with _asked(job) as http:
        client = Client(http, job.question, Patience(job.retries, job.wait_s), progress.note)
        info = await client.info()
        served = {name: info[name] for name in _SERVED if name in info}
        if isinstance(kept, Journal):
            _check_served(kept, served)
        progress.start()

        async def embed(batch: Batch) -> Entry:
            if job.skip_errors:
                return await embed_or_skip(client, batch, whole=job.question.late_chunking)
            return await embed_batch(client, batch)

        async def keep(entry: Entry) -> None:
            entry = replace(entry, served=served)
            if isinstance(kept, Journal):
                kept.append(entry)
            else:
                await apart(lambda: kept.append(entry))
                for failed in entry.failed:
                    progress.warn(f"record {failed['record']}: {failed['error']}")
            progress.show(kept.totals)

        records = job.records() if job.source.lasting else survey.watched(job.records())
        rest = job.batches(itertools.islice(records, kept.totals.records, None))
        await embed_in_order(rest, embed, keep, job.concurrency)
        kept.append(Entry(0, [], np.empty((0, 0), np.float32), served=served, end=True))


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
async def _asked(job: Job) -> AsyncIterator[httpx.AsyncClient]:
    """Connections to the service that is asked, which is embedded if no other is named."""
    async with contextlib.AsyncExitStack() as stack:
        url = job.url
        if url is None:
            url = await stack.enter_async_context(embedded_service(job.embedded_model))
        try:
            http = httpx.AsyncClient(
                base_url=url,
                headers={"authorization": f"Bearer {job.key}"} if job.key else {},
                timeout=TIMEOUT,
                limits=httpx.Limits(max_connections=job.concurrency),
                trust_env=behind_proxies(url),
            )
        except (ImportError, ValueError) as error:
            raise ToolError(proxy_refusal(error)) from None
        yield await stack.enter_async_context(http)
