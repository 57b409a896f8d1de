"""The command line: `quintet serve`, and the tools. `python -m app` is the same command.

serve      run the service; settings are EMBED_* variables
batches    have batch jobs in a process of their own
embed      embed a file's texts by a running service or one of its own
corpus     embed folders of Parquet and JSONL files, on Ray
tokens     count a file's tokens
bench      measure how fast a running service is
keys       make, list and remove API keys
verify     compare a checkpoint with published values of the real weights
evaluate   measure how good a checkpoint or a running service is
train      teach an adapter of one's own, or make the embedded model anew
openapi    print the served OpenAPI document
settings   print the table of settings

What a command needs is imported when it runs, so that every --help is quick and works without it.
"""

import sys
from pathlib import Path

from app import __version__
from app.processes import signals

# First, since the imports below take a second; and only if this is the program.
if __name__ == "__main__" or Path(sys.argv[0]).name == "quintet":
    if sys.argv[1:2] in (["serve"], ["batches"]):
        signals.end_at_once()
    else:
        signals.end_as_interrupted()

import argparse
import errno
import json
import os
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.processes.metrics_folder import metrics_folder
from app.settings import PREFIX, Settings, SettingsError, read_settings
from model.config import CheckpointError
from model.extras import how_to_install, missing
from model.waiting_file import wait_for_readers

_EXTRA_IS_MISSING = 2
# What a write to a full disk, or one that fails, raises.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@dataclass(frozen=True, slots=True)
class _Command:
    """`run` gives the exit status. `extra` is what has to be installed beside the service."""

    meaning: str
    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _: None
    extra: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    _open_closed_streams()
    wait_for_readers()
    words = sys.argv[1:] if arguments is None else arguments
    options = command_line(words).parse_args(words)
    command = _COMMANDS[options.command]
    if command.extra and (lacking := missing(command.extra)):
        print(
            f"error: `quintet {options.command}` needs what is not installed ({', '.join(lacking)})"
            f"; to install it: {how_to_install(command.extra)}",
            file=sys.stderr,
        )
        return _EXTRA_IS_MISSING
    try:
        status = command.run(options)
        sys.stdout.flush()
        return status  # noqa: TRY300  (what is flushed may fail, too)
    except (CheckpointError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        _imported("app.tools.pipes:discard_output")()
        return 0
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            raise
        _imported("app.tools.pipes:discard_output")()
        print(f"error: cannot write standard output: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return signals.INTERRUPTED


def _open_closed_streams() -> None:
    """Have /dev/null stand for standard streams that are closed: the next files to be opened would
    get their numbers, and what goes to the streams. Who reads it gets an error, as before."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_WRONLY)  # the lowest that is free
            os.set_inheritable(number, True)
            if name != "stdin":
                setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def command_line(words: Sequence[str]) -> argparse.ArgumentParser:
    """All commands; the one that the words begin with has its arguments, too."""
    parser = argparse.ArgumentParser("quintet", description="Quintet, an embeddings service.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in _COMMANDS.items():
        extra = command.extra
        subparser = commands.add_parser(
            name,
            help=command.meaning,
            description=command.meaning,
            epilog=f"It needs the extra `{extra}`: {how_to_install(extra)}" if extra else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in words[:1]:
            command.add_arguments(subparser)
    return parser


def _imported(name: str) -> Callable[..., Any]:
    """The function package.module:function; the module is imported when it is called."""

    def function(*arguments: object) -> Any:
        return pkgutil.resolve_name(name)(*arguments)

    return function


def _functions(module: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Those that a command's module has."""
    return _imported(f"{module}:run"), _imported(f"{module}:add_arguments")


def _add_batches(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        required=True,
        help="the service, or the balancer, that computes; its key is in QUINTET_API_KEY",
    )


def _batches(options: argparse.Namespace) -> int:
    with metrics_folder(1):
        status: int = _imported("app.processes.serve_batches:run")(options)
        return status


def _add_verify(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", help="folder or hub id (default: EMBED_MODEL)")
    add("--revision", help="commit, tag or branch of the hub id")
    add("--golden", help="other values to compare with (a JSON file)")
    add("--device", default="auto", help="cpu, cuda:0, ... (default: auto)")


def _verify(options: argparse.Namespace) -> int:
    model, revision = read_settings().checkpoint(options.model, options.revision)
    status: int = _imported("model.verify:verify")(model, revision, options.golden, options.device)
    return status


def _evaluate(options: argparse.Namespace) -> int:
    service = _imported("app.tools.evaluated_service:EvaluatedService")
    status: int = _imported("model.evaluate.command:run")(options, service)
    return status


def _corpus(options: argparse.Namespace) -> int:
    signals.raise_interrupts()
    settings = read_settings()
    options.model, options.revision = settings.checkpoint(options.model, options.revision)
    status: int = _imported("model.corpus.command:run")(options)
    return status


def _train(options: argparse.Namespace) -> int:
    signals.raise_interrupts()
    status: int = _imported("model.training.command:run")(options)
    return status


def _openapi(_: argparse.Namespace) -> int:
    with metrics_folder(1):
        app = _imported("app.application:create_app")(Settings())
        print(json.dumps(app.openapi(), indent=2, ensure_ascii=False))
    return 0


def _settings(_: argparse.Namespace) -> int:
    print(settings_table())
    return 0


def settings_table() -> str:
    """The settings as a Markdown table, which the documentation has."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        value = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        default = f"`{value}`" if value not in (None, "") else "unset"
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


_COMMANDS = {
    "serve": _Command(
        "run the service; settings are EMBED_* variables", *_functions("app.processes.serve")
    ),
    "batches": _Command(
        "have batch jobs in a process of their own, computed by a service at an address",
        _batches,
        _add_batches,
    ),
    "embed": _Command(
        "embed a file's texts by a running service or one of its own",
        *_functions("app.tools.embed"),
    ),
    "corpus": _Command(
        "embed folders of Parquet and JSONL files, on Ray",
        _corpus,
        _imported("model.corpus.arguments:add_arguments"),
        "ray",
    ),
    "tokens": _Command("count a file's tokens", *_functions("app.tools.tokens")),
    "bench": _Command("measure how fast a running service is", *_functions("app.tools.bench")),
    "keys": _Command("make, list and remove API keys", *_functions("app.tools.keys_command")),
    "verify": _Command("compare a checkpoint with published values", _verify, _add_verify),
    "evaluate": _Command(
        "measure how good a checkpoint or a running service is",
        _evaluate,
        _imported("model.evaluate.arguments:add_arguments"),
        "evaluate",
    ),
    "train": _Command(
        "teach an adapter of your own, or make the embedded model anew",
        _train,
        _imported("model.training.arguments:add_arguments"),
        "training",
    ),
    "openapi": _Command("print the served OpenAPI document", _openapi),
    "settings": _Command("print the table of settings", _settings),
}

if __name__ == "__main__":
    sys.exit(main())
