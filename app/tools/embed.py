"""`quintet embed FILE`: texts of a file -> vectors in a file, by a running service.

Exit codes: 0 done; 1 stopped with a sentence; 2 done, but records were skipped; 130 interrupted.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.processes import signals
from app.tools import chunks, source
from app.tools.errors import ToolError
from model.options import non_negative_int, positive_int

if TYPE_CHECKING:
    from app.tools.job import Job

KEY_VARIABLE = "QUINTET_API_KEY"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `run` reads."""
    source.add_arguments(parser)
    _add_question(parser)
    chunks.add_arguments(parser)
    _add_output(parser)
    _add_service(parser)


def _add_question(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", help="default: the service's")
    parser.add_argument("--dimensions", type=positive_int, metavar="N", help="cut vectors to N")
    parser.add_argument("--model", help="a served name; without --url, the checkpoint to serve")
    parser.add_argument("--truncate", action="store_true", help="cut texts over the token limit")
    parser.add_argument(
        "--late-chunking",
        action="store_true",
        help="read consecutive records with the same --group as one document",
    )
    parser.add_argument(
        "--late-chunking-overlap",
        type=positive_int,
        metavar="N",
        help="read documents over the limit in windows that overlap by N tokens",
    )
    parser.add_argument("--group", metavar="FIELD", help="the field that names the document")


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        *("--output", "-o"),
        required=True,
        type=Path,
        metavar="FILE",
        help=".jsonl, .parquet or .npy; a link is followed; - is standard output, in JSONL",
    )
    add(
        "--format",
        choices=("jsonl", "npy", "parquet"),
        help="default: by the ending; jsonl without one",
    )
    add("--overwrite", action="store_true", help="replace an output that is there")
    add("--restart", action="store_true", help="forget what an unfinished run has answered")
    add(
        "--skip-errors",
        action="store_true",
        help="go on without lines that cannot be read and texts that are refused; "
        "OUTPUT.errors.jsonl says which",
    )
    add("--quiet", "-q", action="store_true", help="print errors only")
    add("--progress", action="store_true", help="show the bar where there is no terminal, too")


def _add_service(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--url",
        help=f"a running service, http://host:port, with the key in {KEY_VARIABLE}; "
        "default: one is started for this run, with the EMBED_* settings",
    )
    add(
        "--batch-size",
        type=positive_int,
        default=64,
        metavar="N",
        help="texts a request, 64, the first ones being smaller",
    )
    add("--concurrency", type=positive_int, default=4, metavar="N", help="requests at once, 4")
    add("--retries", type=non_negative_int, default=8, metavar="N", help="of one request, 8")
    add(
        "--wait",
        type=non_negative_int,
        default=0,
        metavar="S",
        help="seconds to wait for a service that does not answer yet, 0",
    )


def run(options: argparse.Namespace) -> int:
    """Embed the file; the exit code. Errors are sentences on standard error."""
    try:
        # Behind the arguments, since every command reads those, and this needs an HTTP client.
        from app.tools.job import embed_file  # noqa: PLC0415

        signals.raise_interrupts()
        return embed_file(_job(options))
    except ToolError as error:
        print(f"error: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print("interrupted", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return signals.INTERRUPTED


def _job(options: argparse.Namespace) -> "Job":
    """
    Raises:
        ToolError: options that do not go together, or a file or package that is not there.
    """
    from app.tools import outputs  # noqa: PLC0415
    from app.tools.client import Question  # noqa: PLC0415
    from app.tools.job import Job  # noqa: PLC0415

    if options.late_chunking != bool(options.group):
        raise ToolError("--late-chunking and --group FIELD go together.")
    url = _base_url(options.url)
    question = Question(
        model=options.model if url else None,
        task=options.task,
        dimensions=options.dimensions,
        late_chunking=options.late_chunking,
        late_chunking_overlap=options.late_chunking_overlap,
        truncate=options.truncate,
        chunking=chunks.chunking_of(options),
    )
    return Job(
        source=source.source(options, options.group),
        output=options.output,
        format=outputs.chosen_format(options.output, options.format),
        question=question,
        url=url,
        key=_key(),
        embedded_model=None if url else options.model,
        batch_size=options.batch_size,
        concurrency=options.concurrency,
        retries=options.retries,
        wait_s=options.wait,
        skip_errors=options.skip_errors,
        overwrite=options.overwrite,
        restart=options.restart,
        bar=options.progress,
        quiet=options.quiet,
    )


def _base_url(url: str | None) -> str | None:
    """The address without the /v1 or the whole path that clients have in it."""
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ToolError(f"--url must be like http://host:port, not {url}.")
    return url.rstrip("/").removesuffix("/embeddings").removesuffix("/v1")


def _key() -> str | None:
    key = os.environ.get(KEY_VARIABLE)
    if key and not (key.isascii() and key.isprintable()):
        raise ToolError(f"{KEY_VARIABLE} must be printable ASCII.")
    return key
