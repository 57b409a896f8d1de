"""The command-line arguments of `quintet evaluate`; importing it needs neither torch nor scipy."""

import argparse
from pathlib import Path

from model.argument_types import finite_float, positive_int, seed
from model.evaluate.datasets import LANGUAGES
from model.hub import EMBEDDED_MODEL

KEY_VARIABLE = "QUINTET_API_KEY"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what command.run reads."""
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of .jsonl files, also .gz .xz .bz2",
    )
    one = parser.add_mutually_exclusive_group()
    one.add_argument(
        "--model", default=EMBEDDED_MODEL, help="folder or hub id; default: quintet-mini"
    )
    add("--revision", help="commit, tag or branch of the hub id of --model")
    one.add_argument("--url", help=f"a running service instead, with its key in {KEY_VARIABLE}")
    add("--against", metavar="MODEL_OR_URL", help="measure this one too, and compare")
    add("--against-revision", metavar="REVISION", help="the same of --against")
    add(
        "--tolerance",
        type=finite_float,
        default=0.01,
        help="how much worse is no worse (default: .01)",
    )
    add("--out", type=Path, metavar="DIR", help="write evaluation.json and pictures of it there")
    add("--dimensions", type=int, nargs="+", default=(), help="default: the Matryoshka sizes")
    add(
        "--limit",
        type=positive_int,
        metavar="N",
        help="measure at most N records of a set and language; without it all, but of questions "
        "at most 300 passages and 1000 questions",
    )
    add(
        "--split",
        choices=("dev", "test"),
        default="dev",
        help="what is measured; where a file lacks it, the other one",
    )
    add(
        "--languages",
        nargs="+",
        metavar="LANGUAGE",
        help=f"of parallel texts; default: {' '.join(LANGUAGES)}, and all of lines with `lang`",
    )
    add("--seed", type=seed, default=0, help="of what is drawn at random (default: 0)")
    add("--device", default="cpu", help="cpu, cuda:0, ... or auto (default: cpu)")
    add("--dtype", default="auto", help="float32, bfloat16, float16, int8 or auto (default)")
    add("--progress", action="store_true", help="show the bar where there is no terminal, too")
