"""The command-line arguments of `quintet corpus`; importing it needs neither Ray nor torch."""

import argparse

from model.argument_types import non_negative_int, positive_int
from model.tasks import PASSAGE_TASK

CHUNKINGS = ("sentences", "markdown", "tokens")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what command.run reads."""
    add = parser.add_argument
    add("input", metavar="IN", help="folder of Parquet and JSONL files (.gz .xz .bz2), or s3://...")
    add("output", metavar="OUT", help="folder for Parquet files of the same names")
    add("--column", default="text", metavar="NAME", help="with the texts; default: text")
    add("--id-column", metavar="NAME", help="default: id, and FILE:ROW where a row has none")
    add("--task", default=PASSAGE_TASK, help=f"default: {PASSAGE_TASK}; none is the base model")
    add("--dimensions", type=positive_int, metavar="N", help="cut vectors to N")
    add("--truncate", action="store_true", help="cut texts over the token limit")
    _add_chunking(parser)
    _add_model(parser)
    add("--quiet", "-q", action="store_true", help="print errors only")
    add("--progress", action="store_true", help="show Ray's bars where there is no terminal, too")


def _add_chunking(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--chunk", choices=CHUNKINGS, help="read each text as a document and write its chunks")
    add("--max-tokens", type=int, metavar="N", help="of a chunk, 256")
    add("--min-tokens", type=int, metavar="N", help="0 fills chunks, 1 is a chunk a sentence")
    add("--overlap", type=int, metavar="N", help="tokens of the chunk before that a chunk repeats")
    add("--no-text", action="store_true", help="do not write the chunks' texts")


def _add_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", help="folder or hub id, the same on all nodes; default: EMBED_MODEL")
    add("--revision", help="commit, tag or branch of the hub id")
    add("--dtype", default="auto", help="float32, bfloat16, float16, int8 or auto (default)")
    add("--max-batch-tokens", type=positive_int, metavar="N", help="of one forward pass")
    add("--address", help="of a Ray cluster; default: a Ray of the command's own, here")
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto (default) is GPUs where Ray knows of some",
    )
    add(
        "--actors",
        type=positive_int,
        metavar="N",
        help="the most that hold a model; default: as many as GPUs, or 1",
    )
    add(
        "--threads", type=positive_int, metavar="N", help="of an actor on a CPU; default: all cores"
    )
    add(
        "--part-texts",
        type=positive_int,
        default=4096,
        metavar="N",
        help="the most texts that an actor gets at once, 4096",
    )
    add(
        "--retries",
        type=non_negative_int,
        default=8,
        metavar="N",
        help="of work whose process died, 8",
    )
