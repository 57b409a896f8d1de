"""The command line: `quintet serve`, and the tools. `python -m app` is the same command.

serve      run the service; settings are EMBED_* variables
embed      embed a file's texts by a running service or one of its own
tokens     count a file's tokens
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
    if sys.argv[1:2] == ["serve"]:
        signals.end_at_once()
    else:
        signals.end_as_interrupted()

import argparse
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.processes.place import place_of
from app.settings import PREFIX, Settings, SettingsError, read_settings
from app.telemetry.logs import configure_logging
from app.tools import embed, keys, tokens
from app.tools.pipes import discard_output
from model.config import CheckpointError
from model.evaluate import arguments as evaluate
from model.extras import how_to_install, missing
from model.training import arguments as train

log = logging.getLogger("quintet")

_EXTRA_IS_MISSING = 2


@dataclass(frozen=True, slots=True)
class _Command:
    """`run` gives the exit status. `extra` is what has to be installed beside the service."""

    meaning: str
    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _: None
    extra: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    options = command_line().parse_args(arguments)
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
        discard_output()
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return signals.INTERRUPTED


def command_line() -> argparse.ArgumentParser:
    """All words with their arguments. Nothing of what a word needs is imported."""
    parser = argparse.ArgumentParser("quintet", description="Quintet, an embeddings service.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in _COMMANDS.items():
        extra = command.extra
        command.add_arguments(
            commands.add_parser(
                name,
                help=command.meaning,
                description=command.meaning,
                epilog=f"It needs the extra `{extra}`: {how_to_install(extra)}" if extra else None,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    return parser


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fd",
        type=int,
        metavar="N",
        help="serve on this inherited socket, which is bound already, not on EMBED_HOST and _PORT",
    )


def _serve(options: argparse.Namespace) -> int:
    # Before the settings are read, so that what is wrong with them has the form of the log.
    configure_logging("json" if os.environ.get(f"{PREFIX}LOG_FORMAT") == "json" else "text")
    try:
        settings = read_settings()
        with place_of(settings.http_processes, len(settings.devices)) as place:
            from app.processes.server import serve  # noqa: PLC0415  (other commands need no web framework)

            return serve(settings, place, options.fd)
    except (CheckpointError, SettingsError) as error:
        log.error("cannot start: %s", error)  # noqa: TRY400  (no trace needed)
        return 1


def _add_verify(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", help="folder or hub id (default: EMBED_MODEL)")
    add("--revision", help="commit, tag or branch of the hub id")
    add("--golden", help="other values to compare with (a JSON file)")
    add("--device", default="auto", help="cpu, cuda:0, ... (default: auto)")


def _verify(options: argparse.Namespace) -> int:
    # Torch enters this process here; serving never comes this way.
    from model.verify import verify  # noqa: PLC0415

    settings = read_settings()
    model, revision = options.model or settings.model, options.revision or settings.model_revision
    return verify(model, revision, options.golden, options.device)


def _evaluate(options: argparse.Namespace) -> int:
    from app.tools.evaluated_service import EvaluatedService  # noqa: PLC0415
    from model.evaluate.command import run  # noqa: PLC0415

    return run(options, EvaluatedService)


def _train(options: argparse.Namespace) -> int:
    from model.training.command import run  # noqa: PLC0415

    signals.raise_interrupts()
    return run(options)


def _openapi(_: argparse.Namespace) -> int:
    with place_of(1, 1) as place:
        from app.application import create_app  # noqa: PLC0415

        print(json.dumps(create_app(Settings(), place).openapi(), indent=2, ensure_ascii=False))
    return 0


def _settings(_: argparse.Namespace) -> int:
    print(settings_table())
    return 0


def settings_table() -> str:
    """The settings as a Markdown table, which the README has."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        value = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        default = f"`{value}`" if value not in (None, "") else "unset"
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


_COMMANDS = {
    "serve": _Command("run the service; settings are EMBED_* variables", _serve, _add_serve),
    "embed": _Command(
        "embed a file's texts by a running service or one of its own",
        *(embed.run, embed.add_arguments),
    ),
    "tokens": _Command("count a file's tokens", tokens.run, tokens.add_arguments),
    "keys": _Command("make, list and remove API keys", keys.run, keys.add_arguments),
    "verify": _Command("compare a checkpoint with published values", _verify, _add_verify),
    "evaluate": _Command(
        "measure how good a checkpoint or a running service is",
        *(_evaluate, evaluate.add_arguments, "evaluate"),
    ),
    "train": _Command(
        "teach an adapter of your own, or make the embedded model anew",
        *(_train, train.add_arguments, "training"),
    ),
    "openapi": _Command("print the served OpenAPI document", _openapi),
    "settings": _Command("print the table of settings", _settings),
}

if __name__ == "__main__":
    sys.exit(main())
