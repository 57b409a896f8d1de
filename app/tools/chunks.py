"""The options of `quintet embed --chunk`, which embeds the chunks of documents."""

import argparse
from typing import Any

from app.tools.errors import ToolError

METHODS = ("sentences", "markdown", "tokens")
_SIZES = ("max_tokens", "min_tokens", "overlap")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `chunking_of` reads."""
    add = parser.add_argument
    add("--chunk", choices=METHODS, help="read each record as a document and write its chunks")
    add("--max-tokens", type=int, metavar="N", help="of a chunk, 256")
    add("--min-tokens", type=int, metavar="N", help="0 fills chunks, 1 is a chunk a sentence")
    add("--overlap", type=int, metavar="N", help="tokens of the chunk before that a chunk repeats")


def chunking_of(options: argparse.Namespace) -> dict[str, Any] | None:
    """The request's field `chunking`; the service checks its numbers.

    Raises:
        ToolError: options that do not go together.
    """
    sizes = {name: getattr(options, name) for name in _SIZES if getattr(options, name) is not None}
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
