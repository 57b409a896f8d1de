"""Job: one run of `embed`, from a file to its output.

Promises
1. The same options and the same input make the same requests and the same output, interrupted or
   not: the journal goes on where it ended.
2. The output appears under its name whole, or not at all.
"""

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.tools import outputs
from app.tools.bulk import Batch, embed_batch, embed_in_order, embed_or_skip
from app.tools.child import embedded_service
from app.tools.client import TIMEOUT, Client, Question
from app.tools.errors import ToolError
from app.tools.inputs import batches, documents
from app.tools.journal import Entry, Journal, Totals
from app.tools.progress import Progress
from app.tools.source import Source
from model.proxies import behind_proxies, proxy_refusal

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
    skip_errors: bool
    overwrite: bool
    restart: bool
    bar: bool
    quiet: bool

    @property
    def journal_path(self) -> Path:
        return outputs.beside(self.output, ".part")

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        """The batches behind the first `skip` records; with late chunking each is a document."""
        records = itertools.islice(self.source.records(), skip, None)
        if self.question.late_chunking:
            return documents(records)
        return batches(records, self.batch_size)

    def facts(self) -> dict[str, Any]:
        """What makes two runs the same. Options that change no vector are not in it."""
        read = self.source.facts() if self.source.lasting else {"the input file": "standard input"}
        asked = asdict(replace(self.question, model=self.question.model or self.embedded_model))
        return read | {f"--{name.replace('_', '-')}": value for name, value in asked.items()}


def embed_file(job: Job) -> int:
    """Do the job; the exit code: 0, or 2 if records were skipped.

    Raises:
        ToolError, KeyboardInterrupt: it ends here; a note says what is kept.
    """
    _check_output(job)
    # Bad lines are told before anything is sent, and the bar knows its end.
    total = sum(map(len, job.batches())) if job.source.lasting else None
    with contextlib.closing(_journal(job)) as journal:
        try:
            if job.output.exists() and not job.overwrite and not journal.totals.ended:
                raise _exists(job.output)
            with Progress(total, journal.totals, bar=job.bar, quiet=job.quiet) as progress:
                if not journal.totals.ended:
                    asyncio.run(_fill(job, journal, progress))
            totals = journal.totals
            width = job.question.dimensions or (totals.served or {}).get("width", 0)
            outputs.write(journal, job.output, job.format, width)
        except (ToolError, KeyboardInterrupt) as error:
            error.add_note(_kept(journal, total))
            raise
        journal.discard()
    if not job.quiet:
        print(f"{progress.summary(totals)} -> {job.output}", file=sys.stderr)
    return 2 if totals.failed else 0


def _journal(job: Job) -> Journal:
    """The job's journal, which begins anew where the input cannot be read again."""
    journal = Journal(job.journal_path, job.facts(), restart=job.restart)
    if job.source.lasting or journal.totals == Totals():
        return journal
    journal.close()
    return Journal(job.journal_path, job.facts(), restart=True)


def _check_output(job: Job) -> None:
    """
    Raises:
        ToolError: the output cannot stand where it is to stand.
    """
    if not job.output.parent.is_dir():
        raise ToolError(f"there is no folder {job.output.parent}.")
    if not job.output.exists():
        return
    if job.output.is_dir() or (job.source.lasting and job.output.samefile(job.source.file)):
        raise ToolError(f"{job.output} is {'a folder' if job.output.is_dir() else 'the input'}.")
    goes_on = job.journal_path.exists() and job.source.lasting and not job.restart
    if not job.overwrite and not goes_on:
        raise _exists(job.output)


def _exists(output: Path) -> ToolError:
    return ToolError(f"{output} is already there; --overwrite replaces it.")


def _kept(journal: Journal, total: int | None) -> str:
    """What a run that ends early leaves behind, said after clearing what is of no use."""
    records = journal.totals.records
    if total is None or not (records or journal.totals.ended):
        journal.discard()
        return (
            "nothing is kept: standard input cannot be read again."
            if total is None
            else "nothing was answered yet: the same command begins anew."
        )
    return f"{records} of {total} texts are kept in {journal.path}: the same command goes on there."


async def _fill(job: Job, journal: Journal, progress: Progress) -> None:
    """Append to the journal what it lacks."""
    async with _asked(job) as http:
        client = Client(http, job.question, job.retries, progress.note)
        info = await client.info()
        served = {name: info[name] for name in _SERVED if name in info}
        _check_served(journal, served)

        progress.start()

        async def embed(batch: Batch) -> Entry:
            if job.skip_errors:
                return await embed_or_skip(client, batch, whole=job.question.late_chunking)
            return await embed_batch(client, batch)

        def keep(entry: Entry) -> None:
            journal.append(replace(entry, served=served))
            progress.show(journal.totals)

        rest = job.batches(journal.totals.records)
        await embed_in_order(rest, embed, keep, job.concurrency)
        journal.append(Entry(0, [], np.empty((0, 0), np.float32), served=served, end=True))


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
