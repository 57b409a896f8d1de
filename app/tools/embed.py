"""The command `quintet embed FILE`: its arguments, and the run that they describe.

Exit codes: 0 done; 1 stopped with a sentence; 2 done, but records were skipped; 130 interrupted.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.processes import signals
from app.tools import input_file
from app.tools.service import KEY_VARIABLE, api_key, base_url
from app.tools.tool_errors import ToolError
from model.argument_types import non_negative_int, positive_int

if TYPE_CHECKING:
    from app.tools.embed_run import EmbedRun

_CHUNKINGS = ("sentences", "markdown", "tokens")
_CHUNK_SIZES = ("max_tokens", "min_tokens", "overlap")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `run` reads."""
    input_file.add_arguments(parser)
    _add_request(parser)
    _add_chunking(parser)
    _add_output(parser)
    _add_service(parser)


def _add_request(parser: argparse.ArgumentParser) -> None:
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


def _add_chunking(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--chunk", choices=_CHUNKINGS, help="read each record as a document and write its chunks")
    add("--max-tokens", type=int, metavar="N", help="of a chunk, 256")
    add("--min-tokens", type=int, metavar="N", help="0 fills chunks, 1 is a chunk a sentence")
    add("--overlap", type=int, metavar="N", help="tokens of the chunk before that a chunk repeats")


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
    add(
        "--flex",
        action="store_true",
        help="let other requests to the service go first; with --url",
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
        # Imported here, since every command adds the arguments, and this needs an HTTP client.
        from app.tools.embed_run import embed_file  # noqa: PLC0415

        signals.raise_interrupts()
        return embed_file(_run_of(options))
    except ToolError as error:
        print(f"error: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print("interrupted", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return signals.INTERRUPTED


def _run_of(options: argparse.Namespace) -> "EmbedRun":
    """
    Raises:
        ToolError: options that do not go together, or a file or package that is not there.
    """
    from app.tools import outputs  # noqa: PLC0415
    from app.tools.client_bodies import RequestOptions  # noqa: PLC0415
    from app.tools.embed_run import EmbedRun  # noqa: PLC0415

    if options.late_chunking != bool(options.group):
        raise ToolError("--late-chunking and --group FIELD go together.")
    url = None if options.url is None else base_url(options.url)
    if options.flex and not url:
        raise ToolError("--flex goes with --url: a service of its own has no other requests.")
    request = RequestOptions(
        model=options.model if url else None,
        task=options.task,
        dimensions=options.dimensions,
        late_chunking=options.late_chunking,
        late_chunking_overlap=options.late_chunking_overlap,
        truncate=options.truncate,
        chunking=_chunking(options),
        service_tier="flex" if options.flex else None,
    )
    return EmbedRun(
        source=input_file.input_file(options, options.group),
        output=options.output,
        format=outputs.chosen_format(options.output, options.format),
        options=request,
        url=url,
        key=api_key(),
        local_model=None if url else options.model,
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


def _chunking(options: argparse.Namespace) -> dict[str, Any] | None:
    """The request's field `chunking`; the service checks its numbers.

    Raises:
        ToolError: options that do not go together.
    """
    sizes = {
        name: getattr(options, name) for name in _CHUNK_SIZES if getattr(options, name) is not None
    }
    if options.chunk is None:
        if sizes:
            raise ToolError(f"--{next(iter(sizes)).replace('_', '-')} goes with --chunk.")
        return None
    for name in ("late_chunking", "truncate"):
        if getattr(options, name):
            raise ToolError(
                f"--{name.replace('_', '-')} does not go with --chunk, which reads each record as "
                "one document, whole."
            )
    return {"by": options.chunk, **sizes}
