"""The command `quintet keys`: make, list and remove the API keys of a file."""

import argparse
import sys
from pathlib import Path

from app.access.keyfile import KeysError, add_key, read_keys, remove_key
from app.settings import PREFIX, read_settings
from app.tools.pipes import discard_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `run` reads."""
    _add_file(parser, default=None)
    actions = parser.add_subparsers(dest="action", required=True)
    add = actions.add_parser("add", help="make a key, keep its digest, print the key this once")
    remove = actions.add_parser("remove", help="from now on the key is not known any more")
    for action in (add, remove):
        action.add_argument("name", metavar="NAME", help="who the key is for: shown in logs")
    for action in (add, remove, actions.add_parser("list", help="print the names")):
        # Suppressed, since its default would overwrite what stands in front of the action.
        _add_file(action, default=argparse.SUPPRESS)


def _add_file(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument("--file", type=Path, default=default, help=f"default: {PREFIX}KEYS_FILE")


def run(options: argparse.Namespace) -> int:
    """Make, list or remove; the exit code. A running service reads the changed file by itself.

    Raises:
        SettingsError: EMBED_* settings do not fit.
    """
    chosen = options.file or read_settings().keys_file
    if chosen is None:
        print(f"error: which file? Set {PREFIX}KEYS_FILE or give --file.", file=sys.stderr)
        return 1
    path = Path(chosen)
    try:
        if options.action == "add":
            key = add_key(path, options.name)
            print(f"the key of {options.name}, shown this once:", file=sys.stderr)
            print(key)
        elif options.action == "remove":
            remove_key(path, options.name)
        else:
            for name in read_keys(path).values():
                print(name)
        sys.stdout.flush()
    except KeysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        discard_output()
        return _unprinted(options, path, error)
    return 0


def _unprinted(options: argparse.Namespace, path: Path, error: OSError) -> int:
    """Say that standard output did not take what was to be printed; the exit code. A key that
    nobody has seen is removed again."""
    if options.action != "add":
        if isinstance(error, BrokenPipeError):
            return 0
        print(f"error: cannot write standard output: {error.strerror}.", file=sys.stderr)
        return 1
    try:
        remove_key(path, options.name)
        outcome = "it was removed again"
    except KeysError as kept:
        outcome = f"it is still in the file: {kept}"
    print(
        f"error: the key of {options.name} could not be printed ({error.strerror}); {outcome}",
        file=sys.stderr,
    )
    return 1
